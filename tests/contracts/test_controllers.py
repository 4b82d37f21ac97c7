"""Whatever a controller does, the text is the target's: plain decoding's under greedy, its law under sampling, in any batch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest

import paceline
from paceline import Engine, Request, Sampling, SpecError, plugins
from paceline.core.arms import Arm, Outcome, View
from paceline.drafters.ngram import Ngram
from paceline.drafters.recycle import Recycle
from paceline.drafters.small_model import SmallModel
from paceline.drafters.suffix import Suffix
from paceline.lm import LM
from paceline.testing import ToyLM
from tests.contracts.test_greedy import prompts, wanted
from tests.laws import TIGHT, TreeDrafter, distance, engine_law, plain_law, softmax_of
from tests.tiny import nearly

NEW = 24
TOY = ToyLM(5, seed=4)
PROMPT = [1, 0, 1]
TARGET, OTHER = ToyLM(3, seed=1), ToyLM(3, seed=2)


class Restless:
    """Another drafter every round, by the row's length and what it took last: the past, and nothing else."""

    timed = True

    def __init__(self, drafters: int, budgets: Sequence[int] = (4, 1, 0, 7)) -> None:
        self.drafters, self.budgets = drafters, budgets
        self.seen: dict[int, list[int]] = {}

    def pick(self, views: Sequence[View]) -> list[Arm]:
        return [self._arm(view, self.seen.setdefault(view.row, [])) for view in views]

    def _arm(self, view: View, seen: list[int]) -> Arm:
        which = view.length + 3 * len(seen) + sum(seen)
        return Arm(which % self.drafters, self.budgets[which % len(self.budgets)])

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self.seen[outcome.row].append(outcome.tokens)

    def forget(self, row: int) -> None:
        self.seen.pop(row, None)


@functools.lru_cache
def drafters(lm: LM) -> list[Any]:
    return [Ngram(max_n=2, min_n=1, length=4, worth=0.0), Suffix(), Recycle(), SmallModel(model=nearly(lm), length=3, worth=0.0)]


CONTROLLERS = {
    **{name: name for name in plugins.names("controller")},
    "ucb of many arms": "ucb:budgets=[0,1,4],scale=0.2", "ucb for all rows": "ucb:carry=true,budgets=[2,8],reward=net",
    "ucb that forgets": "ucb:window=12,reward=speed", "exp3 for all rows": "exp3:carry=true,budgets=[0,4],reward=net",
    "fixed behind an allowance": "fixed:guarded=true",
    "any arm, any time": "uniform:budgets=[0,1,4,7]", "restless": Restless,
}  # fmt: skip


def made(controller: Any, count: int) -> Any:
    return controller(count) if isinstance(controller, type) else controller


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("name", CONTROLLERS)
def test_greedy_text_is_plain_decodings(name: str, slots: int, lm: LM) -> None:
    texts = [*prompts(lm.vocab), list(range(3, 30))]
    plain = paceline.generate(lm, texts, drafter="none", max_new_tokens=NEW)
    assert [g.tokens for g in plain[:3]] == wanted(lm)
    controller = made(CONTROLLERS[name], 4)
    out = paceline.generate(lm, texts, drafter=drafters(lm), controller=controller, max_new_tokens=NEW, slots=slots)
    assert [g.tokens for g in out] == [g.tokens for g in plain]
    assert not any(g.stats.failures for g in out) and sum(g.stats.accepted for g in out) > 0


@pytest.mark.parametrize("name", [name for name in CONTROLLERS if not name.startswith("fixed")])
def test_several_drafters_are_really_used(name: str, lm: LM) -> None:
    engine = Engine(lm, drafters(lm), controller=made(CONTROLLERS[name], 4), slots=2)
    rows = [engine.submit(Request(p, max_new_tokens=40)) for p in prompts(lm.vocab)]
    used = set()
    while any(row.finish_reason is None for row in rows):
        used |= {row.last.arm for row in engine.step() if row.last is not None}
    assert used == {0, 1, 2, 3}


@pytest.mark.parametrize("name", CONTROLLERS)
def test_rounds_lie_between_the_length_and_its_share(name: str) -> None:
    """Proposition 3.1: len / (L + 1) <= rounds <= len; and every round's tokens add up to the length."""
    arms = [SmallModel(model=ToyLM(5, seed=seed), length=7, worth=0.0) for seed in (4, 5, 6)]
    engine = Engine(TOY, arms, controller=made(CONTROLLERS[name], 3), slots=3)
    for out in engine.run([Request([a, b], max_new_tokens=50 + b) for a in range(3) for b in range(2)]):
        length = len(out.tokens)
        assert length / (7 + 1) <= out.stats.rounds <= length and out.stats.accepted + out.stats.rounds == length


@pytest.mark.parametrize("name", CONTROLLERS)
def test_seeded_samples_with_chosen_nodes_are_plain_decodings(name: str, lm: LM) -> None:
    warm = Sampling(temperature=0.7, top_p=0.95, seed=11)
    given = {"sampling": warm, "max_new_tokens": NEW, "reproducible": True}
    plain = paceline.generate(lm, prompts(lm.vocab), drafter="none", **given)
    out = paceline.generate(lm, prompts(lm.vocab), drafter=drafters(lm), controller=made(CONTROLLERS[name], 4), slots=2, **given)
    assert [g.tokens for g in out] == [g.tokens for g in plain]


SWITCHED = [TreeDrafter(softmax_of(OTHER), [-1, 0], [True, True]), Ngram(max_n=2, min_n=1, length=2, worth=0.0),
            TreeDrafter(softmax_of(OTHER), [-1, -1], [True, True])]


class Noted:
    """A controller whose arms are written down."""

    def __init__(self, inner: Any, used: set[tuple[int, Arm]]) -> None:
        self.inner, self.used, self.round = inner, used, 0
        self.timed, self.learn, self.forget = inner.timed, inner.learn, inner.forget

    def pick(self, views: Sequence[View]) -> list[Arm]:
        arms = self.inner.pick(views)
        self.used |= {(self.round, arm) for arm in arms}
        self.round += 1
        return arms


@pytest.mark.parametrize(("name", "count", "drafters"), [
    ("restless", 3, 3), ("ucb:budgets=[1],scale=0", 4, 2), ("exp3:budgets=[2]", 3, 3), ("uniform:budgets=[0,2]", 3, 3),
])  # fmt: skip
def test_the_sampled_law_is_exact_however_arms_change(name: str, count: int, drafters: int) -> None:
    """By walking every outcome of so many tokens. Each walk has a controller of its own, whose lots are those of its seed; with
    two arms and four tokens, UCB's picks from the third round on follow what was accepted, so arms differ from walk to walk.
    """
    sampling, used = Sampling(temperature=1.0), set()

    def controller() -> Any:
        return Noted(Restless(3, (2, 1, 2)) if name == "restless" else plugins.make("controller", name).attach(drafters), used)

    law = engine_law(TARGET, PROMPT, sampling, count, SWITCHED[:drafters], room=1, controller=controller)
    assert distance(law, plain_law(TARGET, PROMPT, sampling, count)) < TIGHT
    if name.startswith(("restless", "ucb")):
        assert len(used) > len({which for which, _ in used})  # in some round, walks had different arms


def test_a_false_law_among_the_arms_would_show() -> None:
    """One of two drafters says that it drew from the target's law, and did not."""
    sampling, truth = Sampling(temperature=1.0), plain_law(TARGET, PROMPT, Sampling(temperature=1.0), 2)
    liar = TreeDrafter(softmax_of(OTHER), [-1], [True], stored=softmax_of(TARGET))
    law = engine_law(TARGET, PROMPT, sampling, 2, [liar, SWITCHED[0]], room=1, controller=lambda: Restless(2, (1, 2)))
    assert distance(law, truth) > 0.01


@pytest.mark.parametrize("name", plugins.names("controller"))
def test_nothing_is_kept_of_rows_that_ended_or_were_cancelled(name: str) -> None:
    engine = Engine(TOY, ["none", SmallModel(model=TOY, length=2, worth=0.0)], controller=name, slots=2)
    rows = [engine.submit(Request([1, i], max_new_tokens=9 + i)) for i in range(5)]
    engine.step()
    engine.cancel(rows[0])
    engine.cancel(rows[4])
    while any(row.finish_reason is None for row in rows):
        engine.step()
    held = [value for value in getattr(engine.controller, "__dict__", {}).values() if isinstance(value, dict)]
    assert not any(held)


def test_a_plain_row_is_not_charged_for_anothers_draft() -> None:
    """Plain decoding is drafter 0 with a budget of 0, and the row beside it may use drafter 0."""
    outcomes: list[Outcome] = []

    class Uneven(Restless):
        def pick(self, views: Sequence[View]) -> list[Arm]:
            return [Arm(0, 3 * (view.row % 2)) for view in views]

        def learn(self, given: Sequence[Outcome]) -> None:
            outcomes.extend(given)

    engine = Engine(TOY, [SmallModel(model=TOY, length=3, worth=0.0)], controller=Uneven(1), slots=2)
    engine.run([Request([1, 2], max_new_tokens=20), Request([1, 3], max_new_tokens=20)])
    assert {o.arm.budget for o in outcomes} >= {0, 3}
    assert all((o.draft_seconds > 0) == (o.arm.budget > 0) and o.verify_seconds > 0 for o in outcomes)


class Failing:
    """Raises whenever it is asked; counts how often that was."""

    captures, has_model, timed = (), False, True
    asked = 0

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Any]:
        self.asked += 1
        raise RuntimeError("no draft")

    def forget(self, row: Any) -> None:
        """Keeps nothing."""


def test_a_drafter_that_fails_is_left_and_costs_no_text() -> None:
    failing, good = Failing(), SmallModel(model=TOY, length=4, worth=0.0)
    engine = Engine(TOY, [failing, good], controller="ucb:budgets=[4],scale=0.25")
    out, plain = (e.run([Request([1, 2], max_new_tokens=120)])[0] for e in (engine, Engine(TOY, "none")))
    assert out.tokens == plain.tokens and 0 < failing.asked <= 3
    assert out.stats.rounds < 1.3 * 120 / 5


def test_an_attached_controller_outlives_its_engine() -> None:
    controller = plugins.make("controller", "ucb:carry=true,budgets=[2]").attach(2)
    for _ in range(2):
        paceline.generate(TOY, [[1, 2]], drafter=["none", SmallModel(model=TOY, length=2, worth=0.0)], controller=controller)
    [policy] = controller._policies.values()
    assert sum(policy.pulls) > 128 / 3


def test_an_engine_needs_a_drafter() -> None:
    for controller in plugins.names("controller"):
        with pytest.raises(SpecError, match="found an empty list"):
            Engine(TOY, [], controller=controller)
