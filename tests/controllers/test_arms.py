"""What bandits share: arms, rewards, whose statistics they are, and what is left out of them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from paceline import DataError, SpecError, plugins
from paceline.controllers import _arms
from paceline.controllers._arms import Earned, arms_of
from paceline.controllers._log import recorded
from paceline.controllers.exp3 import Exp3
from paceline.controllers.ucb import Ucb
from paceline.controllers.uniform import Uniform
from paceline.core.arms import Arm, Outcome, View
from tests.controllers.bandits import FAR, Geometric, outcome, play

BANDITS = ("ucb", "exp3", "uniform")


def test_arms_are_drafters_times_budgets_and_plain_decoding_once() -> None:
    assert arms_of(2, [4, 0, 16, 4]) == [Arm(0, 0), Arm(0, 4), Arm(0, 16), Arm(1, 4), Arm(1, 16)]
    assert arms_of(3, [8]) == [Arm(0, 8), Arm(1, 8), Arm(2, 8)] and arms_of(1, [0]) == [Arm(0, 0)]
    with pytest.raises(SpecError, match="at least one drafter.*found none"):
        arms_of(0, [4])


@pytest.mark.parametrize("name", BANDITS)
@pytest.mark.parametrize(("options", "problem"), [
    ("budgets=[]", "budgets of 0"), ("budgets=[4,-1]", r"found \[4, -1\]"), ("depth=0", "depth of at least 1"),
    ("reward=token", "must be one of"), ("reward=", "must be one of"), ("carry=perhaps", "true or false"),
    ("seed=x", "whole number"), ("budget=4", "Did you mean 'budgets'"),
])  # fmt: skip
def test_bad_options_are_named(name: str, options: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        plugins.make("controller", f"{name}:{options}")


@pytest.mark.parametrize("name", BANDITS)
def test_a_reward_given_in_python_is_checked_too(name: str) -> None:
    with pytest.raises(SpecError, match="no reward 'sped'.*Did you mean 'speed'"):
        plugins.make("controller", name, reward="sped")


@pytest.mark.parametrize("name", BANDITS)
def test_one_arm_is_no_special_case(name: str) -> None:
    controller = plugins.make("controller", f"{name}:budgets=[4]").attach(1)
    assert play(controller, Geometric([0.5], 1), rounds=30)[0] == [0] * 30


def test_rows_have_statistics_of_their_own_unless_carried() -> None:
    """Row 1 begins with the first arm again; carried, it goes on where row 0 was, also after that row has ended."""
    for carry, begins in ((False, [0, 1, 2]), (True, [2, 2, 2])):
        controller = Ucb(budgets=(4,), carry=carry, scale=0.0).attach(3)
        assert play(controller, lambda arm: 1 + arm, rounds=5)[0] == [0, 1, 2, 2, 2]
        controller.forget(0)
        assert play(controller, lambda arm: 1 + arm, rounds=3, row=1)[0] == begins


@pytest.mark.parametrize("options", [Ucb(budgets=(4,)), Exp3(budgets=(4,)), Uniform(budgets=(4,))])
def test_a_row_plays_the_same_whoever_is_beside_it(options: Any) -> None:
    alone = [play(options.attach(3), Geometric([0.3, 0.5, 0.7], row), rounds=40, row=row)[0] for row in (7, 8)]
    controller, rewards, together = options.attach(3), [Geometric([0.3, 0.5, 0.7], row) for row in (7, 8)], ([], [])
    for _ in range(40):
        arms = controller.pick([View(8, 0, FAR), View(7, 0, FAR)])
        controller.learn([outcome(arm, rewards[i](arm.drafter), 7 + i) for i, arm in ((1, arms[0]), (0, arms[1]))])
        together[1].append(arms[0].drafter)
        together[0].append(arms[1].drafter)
    assert list(together) == alone


def test_rows_that_share_statistics_try_different_arms() -> None:
    controller = Ucb(budgets=(4,), carry=True).attach(3)
    arms = controller.pick([View(row, 0, FAR) for row in range(5)])
    assert [arm.drafter for arm in arms] == [0, 1, 2, 0, 1]
    controller.learn([outcome(arm, 1, row) for row, arm in enumerate(arms[:2])])
    assert controller.pick([View(9, 0, FAR), View(10, 0, FAR)]) == [Arm(2, 4)] * 2


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("name", BANDITS)
def test_an_ended_row_leaves_nothing_behind(name: str, carry: bool) -> None:
    controller = plugins.make("controller", name, budgets=(0, 4), carry=carry).attach(2)
    for row in range(50):
        play(controller, Geometric([0.5, 0.6], row), rounds=4, row=row)
        controller.pick([View(row, 0, FAR)])  # cancelled before its outcome came
        controller.forget(row)
    assert len(controller._policies) == carry and not controller._asked
    controller.forget(99)


def test_what_says_too_little_of_an_arm_is_left_out() -> None:
    """The untried arm comes again until a round counts: a cut one does not, nor one with no room for its budget."""
    controller = Ucb(budgets=(4,)).attach(2)
    for left, truncated in ((FAR, True), (4, False)):
        assert controller.pick([View(0, 0, left)]) == [Arm(0, 4)]
        controller.learn([outcome(Arm(0, 4), 3, truncated=truncated)])
    assert controller.pick([View(0, 0, 5)]) == [Arm(0, 4)]
    controller.learn([outcome(Arm(0, 4), 5)])
    assert controller.pick([View(0, 0, FAR)]) == [Arm(1, 4)]


def test_a_drafter_that_is_no_longer_asked_counts() -> None:
    """Else an untried arm that fails would be waited for until the end."""
    controller = Ucb(budgets=(4,), scale=0.0).attach(2)
    controller.pick([View(0, 0, FAR)])
    controller.learn([outcome(Arm(0, 0), 1)])
    assert play(controller, lambda arm: 3, rounds=5)[0] == [1] * 5


def test_rewards_and_their_losses() -> None:
    tokens = Earned("tokens", 4)
    assert [tokens.loss(tokens.of(0, outcome(Arm(0, 4), y))) for y in (1, 3, 5)] == [1.0, 0.5, 0.0] and tokens.width == 4.0
    assert tokens.loss(9.0) == 0.0  # deeper than was said
    speed = Earned("speed", 4)
    assert speed.of(0, outcome(Arm(0, 4), 3, draft=0.1, verify=0.2)) == pytest.approx(10.0)
    assert speed.of(0, outcome(Arm(0, 4), 1, draft=0.3, verify=0.2)) == pytest.approx(2.0)
    assert speed.width == pytest.approx(10.0) and speed.loss(2.0) == pytest.approx(0.8)
    assert math.isfinite(speed.of(0, outcome(Arm(0, 4), 1, draft=0.0, verify=0.0)))


def test_net_looks_past_a_slow_round_and_at_each_arm_and_size() -> None:
    net = Earned("net", 4)
    for _ in range(5):
        net.of(0, outcome(Arm(0, 4), 3, draft=0.1, verify=0.2))
        net.of(1, outcome(Arm(1, 2), 3, draft=0.2, verify=0.1))
    assert net.of(0, outcome(Arm(0, 4), 3, draft=9.0, verify=0.2)) == pytest.approx(10.0)
    assert net.of(1, outcome(Arm(1, 4), 3, draft=0.2, verify=9.0)) == pytest.approx(7.5)
    for _ in range(_arms.RECENT):
        after = net.of(0, outcome(Arm(0, 4), 3, draft=0.3, verify=0.2))
    assert after == pytest.approx(6.0)


@pytest.mark.parametrize("options", [
    {"scale": 0.2, "carry": True}, {"discount": 0.9}, {"window": 20}, {"reward": "speed"}, {"reward": "net", "carry": True},
])  # fmt: skip
def test_a_log_replays_to_the_same_arms(options: dict, tmp_path: Any) -> None:
    replays("ucb", options, tmp_path)


@pytest.mark.parametrize("name", ["exp3", "uniform"])
def test_the_others_replay_too(name: str, tmp_path: Any) -> None:
    replays(name, {"reward": "speed"}, tmp_path)


def replays(name: str, options: dict, folder: Any) -> None:
    """Three rows at once that end one by one, with timings that differ; another seed plays otherwise."""
    given = {"budgets": (0, 2, 4), "seed": 5, **options}
    controller = plugins.make("controller", name, log=str(folder / "log"), **given).attach(2)
    rewards = Geometric([0.4, 0.7], 3)
    for turn in range(120):
        views = [View(row, turn, FAR) for row in range(3) if turn < 50 + 35 * row]
        arms = controller.pick(views)
        controller.learn([outcome(arm, min(rewards(arm.drafter), arm.budget + 1), view.row, 0.001 * (1 + turn % 3), 0.01,
                                  truncated=turn % 17 == 16) for arm, view in zip(arms, views, strict=True)])
    rounds = recorded(folder / "log")
    assert len(rounds) == 120 and [len(r) for r in rounds[::40]] == [3, 3, 2]
    assert sum(not entry.used for r in rounds for entry in r) == 14 and {e.arm for r in rounds for e in r} == set(range(5))
    again, other = (plugins.make("controller", name, **{**given, "seed": seed}).attach(2) for seed in (5, 6))
    wanted = [[entry.arm for entry in entries] for entries in rounds]
    assert replayed(again, rounds) == wanted
    if name != "ucb":
        assert replayed(other, rounds) != wanted


def replayed(controller: Any, rounds: Any) -> list[list[int]]:
    played = []
    for entries in rounds:
        played.append([controller.arms.index(arm) for arm in controller.pick([entry.view for entry in entries])])
        controller.learn([entry.outcome for entry in entries])
    return played


def test_logs_that_cannot_be_written_or_read(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="Cannot write the controller's log"):
        Ucb(log=str(tmp_path / "no" / "log")).attach(1)
    with pytest.raises(DataError, match="Cannot read"):
        recorded(tmp_path / "none")
    (tmp_path / "bad").write_text('{"round": 1}\n')
    with pytest.raises(DataError, match="line 1: expected a round"):
        recorded(tmp_path / "bad")
    folder = tmp_path / "gone"
    folder.mkdir()
    controller = Ucb(budgets=(4,), log=str(folder / "log")).attach(2)
    (folder / "log").unlink()
    folder.rmdir()
    assert play(controller, lambda arm: 2, rounds=4)[0][:2] == [0, 1]
    assert caplog.text.count("ends at round 1") == 1


def test_a_new_log_replaces_the_old(tmp_path: Any) -> None:
    for rounds in (9, 4):
        play(Ucb(budgets=(4,), log=str(tmp_path / "log")).attach(2), lambda arm: 2, rounds=rounds)
    entries = recorded(tmp_path / "log")
    assert len(entries) == 4 and isinstance(entries[0][0].outcome, Outcome)
