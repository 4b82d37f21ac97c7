"""The protocol (order, medians) and the figures made from it, with methods that are told what to return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from paceline.bench.methods import Batch, OneByOne
from paceline.bench.summary import PLAIN, summarise
from paceline.bench.timing import Group, Runs, measure
from paceline.core.stats import Stats

GROUPS = [Group("code", [[1, 2]]), Group("math", [[3]]), Group("math", [[4]])]


@dataclass
class Scripted:
    """A method whose answers are a function of the prompt's first token."""

    name: str
    answers: dict[int, list[int]]
    seconds: float = 1.0
    stats: Stats | None = None
    log: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {}

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        self.log.append(f"{self.name}:{prompts[0][0]}")
        return Batch(self.seconds, [self.answers[p[0]] for p in prompts], [self.stats] * len(prompts) if self.stats else [])

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        return None if self.stats else 5


def stats(rounds: int, accepted: list[int]) -> Stats:
    parts = dict(prefill=0.5, draft=2.0, verify=4.0, commit=0.5, host=0.5)
    return Stats(
        rounds=rounds, drafted=8, accepted=sum(accepted), drafted_per_position=[4, 4], accepted_per_position=accepted,
        new_tokens=10, seconds=parts,
    )  # fmt: skip


def test_methods_take_turns_and_the_order_turns_around() -> None:
    log: list[str] = []
    answers = {1: [7], 3: [7], 4: [7]}
    methods = [Scripted(name, answers, log=log) for name in "AB"]
    measure(methods, GROUPS[:1], 8, repeats=2)
    assert log[2:] == ["A:1", "B:1", "B:1", "A:1"]  # after one warm-up each


def test_a_prompts_time_is_the_median_over_repeats() -> None:
    runs = Runs([[Batch(s, [[1]]) for s in (5.0, 1.0, 2.0)]])
    assert runs.seconds(0) == 2.0
    assert runs.typical(0).seconds == 2.0
    assert runs.stable() and not Runs([[Batch(1, [[1]]), Batch(1, [[2]])]]).stable()


def figures(**changed: Any) -> dict[str, Any]:
    text = list(range(10))
    answers = {1: text, 3: text, 4: text}
    plain = Scripted(PLAIN, answers, 2.0, stats(10, []))
    other = Scripted("x", answers | changed.get("answers", {}), 1.0, stats(5, [3, 2]))
    rival = Scripted("rival", answers, 4.0)
    runs = measure([plain, other, rival], GROUPS, 10, repeats=1)
    return summarise(runs, GROUPS, lambda prompt, tokens, index: 10.0**-index)


def test_speeds_are_relative_to_plain_and_to_every_other_method() -> None:
    found = figures()
    assert found["x"]["speedup"]["value"] == pytest.approx(2.0)
    assert found["x"]["speedup_vs"]["rival"]["value"] == pytest.approx(4.0)
    assert found[PLAIN]["speedup"]["value"] == 1.0
    assert found["x"]["speedup_after_prefill"]["value"] == 2.0  # 1.5 / 0.5 was measured, two tokens a round allow no more
    assert "speedup_after_prefill" not in found["rival"]
    assert found["x"]["by_task"]["math"]["new_tokens"] == 20
    assert found["x"]["speedup_mean_over_tasks"]["rival"]["value"] == pytest.approx(4.0)


def test_acceptance_and_time_split() -> None:
    found = figures()["x"]
    assert found["target_forwards"] == 15 and found["acceptance_length"] == pytest.approx(2.0)
    assert found["accept_per_position"] == [pytest.approx(0.6), pytest.approx(0.4)]
    assert found["num_drafts"] == 12 and found["num_draft_tokens"] == 24 and found["num_accepted_tokens"] == 15
    assert found["outside_forwards"] == pytest.approx(1 / 7)
    assert found["expected_speedup"] == pytest.approx(2.0 * 0.4 / (0.4 + 0.8))  # plain verifies 4 s in 10 rounds


def test_a_rivals_acceptance_comes_from_counted_forwards() -> None:
    assert figures()["rival"]["acceptance_length"] == pytest.approx(2.0)


def test_a_difference_is_counted_and_located() -> None:
    found = figures(answers={3: [0, 1, 99, *range(3, 10)]})["x"]
    assert found["identical"] == pytest.approx(2 / 3)
    assert found["divergences"] == [{"task": "math", "group": 1, "row": 0, "index": 2, "margin": 0.01, "tie": False}]


def test_a_flip_at_a_tie_is_listed_as_one() -> None:
    found = figures(answers={3: [*range(6), 0, 0, 0, 0]})["x"]
    assert found["identical"] == pytest.approx(2 / 3) and found["ties"] == 1


def test_looping_outputs_are_set_aside() -> None:
    found = figures(answers={1: [1, 2] * 20})["x"]
    assert found["looping"] == pytest.approx(1 / 3)
    assert found["without_looping"]["prompts"] == 2 and found["without_looping"]["looping"] == 0
    assert "code" not in found["by_task_without_looping"]
    assert found["without_looping"]["acceptance_length"] == pytest.approx(2.0)


def test_one_by_one_adds_up_its_single_runs() -> None:
    method = Scripted("x", {1: [5], 3: [6]}, 2.0, stats(1, []))
    batch = OneByOne(method).run([[1], [3]], 4)
    assert batch.seconds == 4.0 and batch.tokens == [[5], [6]] and len(batch.stats) == 2
    assert OneByOne(method).name == "x, one by one"
