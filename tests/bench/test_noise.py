"""Figures that cannot be: whatever the clock says, no speed above acceptance, and no verdict that is the machine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from paceline.bench.methods import Batch, OneByOne
from paceline.bench.metrics import expected_speedup
from paceline.bench.noise import PROMPTS, against_itself, disagreement, enough, hides
from paceline.bench.page import _met
from paceline.bench.report import interval, remarks, rows
from paceline.bench.summary import PLAIN, summarise
from paceline.bench.targets import Figure, Target
from paceline.bench.timing import Group, Runs, measure
from paceline.core.arms import Arm, Outcome
from paceline.core.stats import Stats
from paceline.doctor.advice import verdict
from paceline.doctor.costs import Noted
from paceline.doctor.figures import figures, plain_figures
from paceline.doctor.model import Spent, modelled
from paceline.doctor.runs import Candidate

TOKENS = 24
ROUND = Noted(Outcome(0, Arm(0, 2), 2, [True, False], 2, 0.0, 0.01, False), 1, 2, 9)
Timing = Callable[[], float]


def clock(noise: float, seed: int = 0) -> Timing:
    """What a machine makes of one unit of work: never the same twice, but for noise 0."""
    generator = np.random.default_rng(seed)
    return lambda: float(generator.lognormal(0.0, noise))


@dataclass
class Timed:
    """A method whose rounds give `length` tokens and take `pace` plain steps of 10 ms, behind a prefill of `reading` seconds,
    each multiplied by what the clock says at the time.
    """

    name: str
    clock: Timing
    length: int = 1
    pace: float = 1.0
    reading: float = 0.5
    forward: str = ""
    watched: bool = False

    def describe(self) -> dict[str, Any]:
        return {}

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        stats = []
        for _ in prompts:
            rounds = TOKENS // self.length
            parts = {"prefill": self.reading, "draft": 0.0, "verify": 0.01 * self.pace * rounds, "commit": 0.0, "host": 0.0}
            seconds = {part: value * self.clock() for part, value in parts.items()}
            stats.append(Stats(rounds=rounds, new_tokens=TOKENS, seconds=seconds))
        whole = sum(sum(s.seconds.values()) for s in stats)
        return Batch(whole, [list(range(TOKENS))] * len(prompts), stats, self.forward, self.watched)

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        return None


def groups(count: int, kinds: int = 2) -> list[Group]:
    return [Group("abcd"[i % kinds], [[i]]) for i in range(count)]


def run(*methods: Any, prompts: int = 12, repeats: int = 3) -> dict[str, Runs]:
    return measure(methods, groups(prompts), TOKENS, repeats)


def every(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The figures of a method for all prompts, each kind, and without looping outputs."""
    yield from (found, found["without_looping"], *found["by_task"].values(), *found["by_task_without_looping"].values())


# -- one prefill ------------------------------------------------------------------------------------------------------------


def test_one_prefill_serves_all_that_do_the_same() -> None:
    """The drafted method was unlucky with its prefill in every repeat; it drafts nothing, so its speed is plain decoding's."""
    runs = run(Timed(PLAIN, lambda: 1.0, reading=0.1), Timed("x", lambda: 1.0, reading=0.9), prompts=3)
    found = summarise(runs, groups(3), lambda *_: 0.0)["x"]
    assert found["speedup"]["value"] == pytest.approx(1.0) and found["seconds"]["prefill"] == pytest.approx(3 * 0.5)
    assert found["total_seconds"] == pytest.approx(3 * (0.5 + 0.01 * TOKENS))


@pytest.mark.parametrize("changes", [{"forward": "inexact"}, {"watched": True}])
def test_another_prefill_stays_its_own(changes: dict[str, Any]) -> None:
    runs = run(Timed(PLAIN, lambda: 1.0, reading=0.1), Timed("x", lambda: 1.0, reading=0.9, **changes), prompts=2)
    assert runs["x"].typical(0).reading == pytest.approx(0.9) and runs[PLAIN].typical(0).reading == pytest.approx(0.1)


# -- nothing above acceptance -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prompts", "repeats"), [(1, 1), (1, 3), (2, 2), (12, 3)])
def test_no_speed_up_exceeds_acceptance_whatever_the_clock_says(prompts: int, repeats: int) -> None:
    for seed in range(6):
        wild = clock(1.0, seed)
        runs = run(Timed(PLAIN, wild), Timed("same", wild), Timed("x", wild, 3, 0.5), prompts=prompts, repeats=repeats)
        for name, method in summarise(runs, groups(prompts), lambda *_: 0.0).items():
            for found in every(method):
                shown = [found["speedup"], found["speedup_after_prefill"], found["speedup_vs"].get(PLAIN, found["speedup"])]
                assert all(figure["value"] <= found["acceptance_length"] for figure in shown), name
                assert found["expected_speedup"] <= found["acceptance_length"], name


def test_rounds_quicker_than_plain_ones_are_noise_and_said_to_be() -> None:
    """Three tokens a round in half the time of a plain one: six times as fast, which nothing is."""
    runs = run(Timed(PLAIN, clock(0.02)), Timed("x", clock(0.02, 1), 3, 0.5), prompts=PROMPTS)
    found = summarise(runs, groups(PROMPTS), lambda *_: 0.0)
    assert found["x"]["above_acceptance"] and not found[PLAIN]["above_acceptance"]
    assert [cells[2:4] for cells in rows(found)][1] == ("too noisy", "too noisy")
    report = {"prompts": PROMPTS, "settings": {"rows": 1}, "noise": against_itself(runs[PLAIN]), "methods": found}
    assert "no verdict on x" in remarks(report)[-1]


@pytest.mark.parametrize(("pace", "noisy"), [(0.97, False), (0.9, True)])
def test_one_prompt_a_little_above_acceptance_is_cut_and_far_above_it_is_noise(pace: float, noisy: bool) -> None:
    """There is no interval to go by."""
    runs = run(Timed(PLAIN, lambda: 1.0), Timed("x", lambda: 1.0, 3, pace), prompts=1)
    found = summarise(runs, groups(1), lambda *_: 0.0)["x"]
    assert found["speedup_after_prefill"]["value"] == 3.0 and found["above_acceptance"] is noisy


def test_another_forward_may_be_quicker_than_plain_decoding() -> None:
    quick = Timed("x", lambda: 1.0, pace=0.5, forward="inexact")
    runs = run(Timed(PLAIN, lambda: 1.0), quick, OneByOne(Timed("y", lambda: 1.0, pace=0.5)), prompts=2)
    found = summarise(runs, groups(2), lambda *_: 0.0)
    for name in ("x", "y, one by one"):
        assert found[name]["speedup_after_prefill"]["value"] == pytest.approx(2.0) and not found[name]["above_acceptance"]


def test_nothing_modelled_exceeds_acceptance() -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        tokens = chance.integers(20, 60, 5)
        plain = [Spent(t, t, *chance.lognormal(0, 1, 6)) for t in tokens]
        drafted = [Spent(t, max(1, t // 3), *chance.lognormal(0, 1, 6)) for t in tokens]
        found = modelled(plain, drafted, draws=50)
        assert max(found["whole"]["value"], found["decoding"]["value"]) <= found["length"]["value"]
        assert max(found["whole"]["high"], found["decoding"]["high"]) <= found["length"]["high"]
        length, *seconds = chance.lognormal(0, 1, 4)
        assert expected_speedup(length, *seconds) <= length


# -- the doctor -------------------------------------------------------------------------------------------------------------


def examined(first: Timed, second: Timed, plain: Timing, prompts: int = 12, repeats: int = 3) -> dict[str, Any]:
    """A report on one candidate: `first` is how it fared on the prompts for calibration, `second` on those of the check."""
    drafted, base, whole = Candidate("ngram", 16, []), Candidate("none", 0, []), groups(prompts)

    def known(method: Timed) -> Any:
        stats = [s for g in whole for s in method.run(g.prompts, TOKENS).stats]
        return [[ROUND]] * prompts, [Spent(TOKENS, s.rounds, s.seconds["verify"], s.seconds["verify"], 0.0, 0.0, 0.0, 0.5)
                                for s in stats]

    known_all = {base: known(Timed(base.name, plain)), drafted: known(first)}
    second.name = drafted.name
    runs = measure([Timed(base.name, plain), second], whole, TOKENS, repeats)
    candidate = figures(None, drafted, known_all, runs)  # type: ignore[arg-type]  # its drafters hold no weights
    return {
        "candidates": [candidate | {"rows": 1}], "plain": {"1": plain_figures(known_all[base], runs[base.name], whole)},
        "cost": {"relative": {"1": {str(n): 1.0 for n in (1, 2, 4)}}}, "settings": {"model": "m"}, "grown": False,
    }  # fmt: skip


def told(**changes: Any) -> dict[str, Any]:
    """The verdict on drafts of two tokens a round that cost as much as plain rounds, with this much noise."""
    now = clock(changes.pop("noise", 0.0), changes.pop("seed", 0))
    second = {"length": 2, "pace": 1.1} | changes.pop("second", {})
    return verdict(examined(Timed("", now, 2, 1.1), Timed("", now, **second), now, **changes), 1)


def test_tokens_a_round_and_the_measured_speed_come_from_the_same_prompts() -> None:
    now = clock(0.0)
    [found] = examined(Timed("", now, 3, 1.0), Timed("", now, 1, 1.0), now)["candidates"]
    assert found["acceptance_length"]["value"] == 1.0 == found["measured"]["value"]
    assert found["modelled_acceptance_length"]["value"] == 3.0 and 1.0 < found["modelled"]["value"] <= 3.0


def test_a_calm_machine_and_enough_prompts_get_a_verdict() -> None:
    assert told(noise=0.02)["pays"] and told(noise=0.02)["sure"]
    worse = told(noise=0.02, second={"pace": 2.6})
    assert worse["sure"] and not worse["pays"]


@pytest.mark.parametrize(("changes", "words"), [
    ({"prompts": PROMPTS - 1}, f"Too few prompts for a verdict: {PROMPTS - 1} checked, it takes {PROMPTS}"),
    ({"prompts": 1}, "1.17x [–]"), ({"repeats": 1}, "give --repeats 2 or more"),
    ({"second": {"pace": 0.5}, "noise": 0.01}, "Machine too noisy, no verdict: rounds of ngram"),
    ({"noise": 1.0}, "Machine too noisy, no verdict: plain decoding came to"),
])  # fmt: skip
def test_where_there_is_no_verdict_it_says_why(changes: dict[str, Any], words: str) -> None:
    found = told(**changes)
    assert not found["pays"] and not found["sure"] and words in found["sentence"] and not found["settings"]


def test_noise_alone_is_never_taken_for_a_gain() -> None:
    """Plain decoding under another name, and two tokens a round that takes two plain rounds; on calm and on wild machines."""
    for noise in (0.01, 0.1, 0.5, 1.0):
        for length in (1, 2):
            found = [told(noise=noise, seed=seed, second={"length": length, "pace": length})["pays"] for seed in range(12)]
            assert sum(found) <= (length - 1)


# -- plain decoding against itself ------------------------------------------------------------------------------------------


def test_plain_against_itself_compares_even_with_odd_repeats() -> None:
    calls = Runs([[Batch(s, [[1]]) for s in seconds] for seconds in ((1.0, 2.0, 1.0), (1.0, 2.0, 1.0))])
    assert against_itself(calls) == {"value": 2.0, "low": 2.0, "high": 2.0}
    assert against_itself(Runs([[Batch(1.0, [[1]])]])) is None


@pytest.mark.parametrize(("noise", "claim", "hidden"), [
    ((1.0, 0.97, 1.04), 1.01, False),  # a calm machine: that there is no gain can be told
    ((1.0, 0.80, 1.10), 1.20, True), ((1.0, 0.80, 1.10), 1.30, False), ((1.0, 0.80, 1.10), 0.90, True),
    ((1.3, None, None), 1.2, True), ((1.12, 1.11, 1.13), 1.1, True),
])  # fmt: skip
def test_a_claim_within_the_disagreement_is_hidden(noise: Any, claim: float, hidden: bool) -> None:
    assert hides(dict(zip(("value", "low", "high"), noise, strict=True)), claim) is hidden
    assert not hides(None, claim)


def test_how_many_prompts_a_verdict_takes() -> None:
    assert enough() == PROMPTS and enough(8) == 16  # of rows together two groups
    assert disagreement({"value": 1.0, "low": 0.8, "high": 1.1}) == pytest.approx(0.25)


def test_the_interval_of_one_prompt_is_a_dash() -> None:
    found = summarise(run(Timed(PLAIN, clock(0.1)), Timed("x", clock(0.1), 2), prompts=1), groups(1), lambda *_: 0.0)
    for figure in (found["x"]["speedup"], found[PLAIN]["speedup"], found["x"]["speedup_mean_over_tasks"][PLAIN]):
        assert figure["low"] is figure["high"] is None and interval(figure).endswith("x [–]")


@pytest.mark.parametrize(("prompts", "noise", "told"), [
    (PROMPTS, None, "yes"), (PROMPTS - 1, None, "too few prompts"), (32, (1.0, 0.6, 1.7), "machine too noisy"),
    (32, (1.0, 0.97, 1.02), "yes"),
])  # fmt: skip
def test_a_target_is_met_only_where_that_can_be_told(prompts: int, noise: Any, told: str) -> None:
    figure = Figure(1.5, 1.4, 1.6)
    report = {"prompts": prompts, "noise": noise and dict(zip(("value", "low", "high"), noise, strict=True))}
    assert _met(Target("", 1.3, "b", lambda *_: figure), [figure, None], report) == told
