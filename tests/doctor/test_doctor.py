"""A whole examination of a tiny model: what must be so whatever the clock says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paceline.bench.timing import Group
from paceline.doctor.costs import Curve, Noted
from paceline.doctor.doctor import Config, examine
from paceline.doctor.runs import Candidate, candidates, distinct, halves, replayed, together
from paceline.errors import DataError, RequestError, SpecError
from paceline.replay.recording import Record
from paceline.testing import tiny_lm
from tests.models.draft_head.test_head import ids


@pytest.fixture(scope="module")
def report(model_folder: Path) -> dict[str, Any]:
    pair = f"small_model:model={model_folder},length=3,worth=0"
    return examine(Config(model=str(model_folder), drafters=(pair, "glide"), budgets=(2, 8), limit=2, max_new_tokens=12,
                          repeats=1, dtype="float32"))


def test_every_candidate_is_predicted_and_measured_on_different_prompts(report: dict[str, Any]) -> None:
    # Prompts with tools, which are told in words, do not fit the context of 512 bytes.
    assert report["prompts"] == [3, 3] and {c["drafter"].split(":")[0] for c in report["candidates"]} >= {"small_model", "suffix"}
    for found in report["candidates"]:
        assert found["identical"] == 1.0 and found["modelled"]["value"] > 0 and found["measured"]["value"] > 0
        assert found["measured"]["value"] <= found["acceptance_length"]["value"]
        assert found["modelled"]["value"] <= found["modelled_acceptance_length"]["value"]
        assert found["prediction_error"] == abs(found["modelled"]["value"] / found["measured"]["value"] - 1)
        assert all(a >= b for a, b in zip(found["accept_per_position"], found["accept_per_position"][1:], strict=False))


def test_the_target_as_its_own_draft_is_always_accepted(report: dict[str, Any]) -> None:
    own = next(c for c in report["candidates"] if c["drafter"].startswith("small_model") and c["budget"] == 2)
    assert own["acceptance_length"]["value"] > 2.3 and own["accept_per_position"][0] > 0.85 and own["weight_bytes"] > 0


def test_what_cannot_be_built_or_brings_nothing_new_is_left_out_and_said(report: dict[str, Any]) -> None:
    why = {s["drafter"]: s["why"] for s in report["skipped"]}
    assert "glide" in why
    own = [c["budget"] for c in report["candidates"] if c["drafter"].startswith("small_model")]
    assert own == [2, 8]  # three tokens are more than two


def test_the_report_is_json_and_names_everything(report: dict[str, Any]) -> None:
    json.dumps(report, allow_nan=False)
    assert {"processor", "threads", "versions"} <= set(report["machine"]) and report["model"]["dtype"] == "float32"
    assert report["model"]["forward"] in ("fused", "lean", "stock") and report["node_budgets"] == [2, 8]
    curve = report["cost"]["relative"]["1"]
    assert curve["1"] == 1.0 and list(curve) == ["1", "2", "4", "8", "16", "32", "64"]
    assert 0 < report["plain"]["1"]["prefill_share"] < 1 and report["memory"]["key_bytes_per_token"] == 2 * 2 * 16 * 4


def test_rows_together_are_examined_by_themselves(model_folder: Path) -> None:
    found = examine(Config(model=str(model_folder), rows=(1, 2), budgets=(4,), limit=2, max_new_tokens=8, repeats=1))
    assert {c["rows"] for c in found["candidates"]} == {1, 2} and [v["rows"] for v in found["verdicts"]] == [1, 2]
    assert set(found["cost"]["relative"]) == {"1", "2"} and all(c["identical"] == 1.0 for c in found["candidates"])


def test_ticks_add_up_to_no_more_than_was_said(model_folder: Path) -> None:
    ticks: list[int] = []
    examine(Config(model=str(model_folder), budgets=(4,), limit=2, max_new_tokens=4, repeats=1), ticks.append)
    assert len(set(ticks)) == 1 and 0 < len(ticks) <= ticks[0]


def test_with_a_replay_acceptance_is_that_of_the_recorded_texts(model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    records = [{"prompt": f"number {i}: ", "output": "abcd" * 12} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, records)))
    found = examine(Config(model=str(model_folder), replay=str(path), budgets=(4,), max_new_tokens=40, repeats=1))
    by_name = {c["drafter"]: c for c in found["candidates"]}
    assert by_name["ngram"]["replayed"] and by_name["ngram"]["modelled_acceptance_length"]["value"] > 2.5
    assert found["settings"]["replay"] == str(path) and found["prompts"] == [2, 2]


def test_a_drafter_that_needs_a_model_is_not_replayed(model_folder: Path) -> None:
    lm, record = tiny_lm(), Record(tuple(ids(10)), tuple(ids(20)))
    assert replayed(lm, Candidate(f"small_model:model={model_folder}", 4, []), [record]) is None
    [rounds] = replayed(lm, Candidate("ngram", 4, []), [record]) or []
    assert sum(r.outcome.tokens for r in rounds) == 20


def test_halves_share_no_prompt_and_every_kind_is_in_both() -> None:
    groups = [Group(kind, [[i]]) for kind in ("a", "b") for i in range(4)]
    first, second = halves(groups)
    assert {g.kind for g in first} == {g.kind for g in second} == {"a", "b"}
    assert sorted(map(id, [*first, *second])) == sorted(map(id, groups))
    with pytest.raises(RequestError, match="two or more"):
        halves(groups[:1])


def test_groups_are_full_where_any_is() -> None:
    groups = [Group("a", [[i]]) for i in range(5)]
    assert [len(g.prompts) for g in together(groups, 2)] == [2, 2] and [len(g.prompts) for g in together(groups, 9)] == [5]


def test_a_larger_budget_that_is_never_used_is_no_candidate() -> None:
    from paceline.core.arms import Arm, Outcome

    def calls(drafted: int) -> list[list[Noted]]:
        return [[Noted(Outcome(0, Arm(0, 16), drafted, [], 1, 0.0, 0.0, False), 1, drafted, 9)]]

    found = {Candidate("a", 4, []): calls(4), Candidate("a", 16, []): calls(10), Candidate("a", 32, []): calls(10),
             Candidate("b", 4, []): calls(0)}
    useful, same = distinct(found)
    assert [(c.spec, c.budget) for c in useful] == [("a", 4), ("a", 16), ("b", 4)]
    assert "more than 10 tokens" in same[0]["why"]


@pytest.mark.parametrize(("slope", "budgets"), [(0.01, {16, 32}), (0.5, {4, 16})])
def test_budgets_follow_the_cost_of_tokens(slope: float, budgets: set[int]) -> None:
    curve = Curve({1: {n: 1 + slope * (n - 1) for n in (1, 16, 64)}})
    made, _ = candidates(tiny_lm(), ["ngram:max_n=3"], (), curve)
    assert {c.budget for c in made} == budgets and "ngram:max_n=3" in {c.spec for c in made}
    assert {c.budget for c in candidates(tiny_lm(), [], (7,), curve)[0]} == {7}


@pytest.mark.parametrize(("settings", "error", "words"), [
    ({"drafters": ("ngrm",)}, SpecError, "Did you mean 'ngram'"), ({"drafters": ("auto",)}, SpecError, "name a drafter"),
    ({"rows": (0,)}, RequestError, "rows"), ({"budgets": (0,)}, RequestError, "budget"), ({"limit": 1}, RequestError, "limit"),
    ({"prompts": "a", "data": "b"}, RequestError, "one source"), ({"replay": "a", "rows": (2,)}, RequestError, "one text at"),
    ({"repeats": 0}, RequestError, "repeats"),
])  # fmt: skip
def test_settings_without_sense(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Config(**settings)


def test_mistakes_in_prompts_cost_no_load(tmp_path: Path) -> None:
    empty = tmp_path / "e.jsonl"
    empty.touch()
    for settings, words in (({"prompts": str(empty)}, "no prompts"), ({"prompts": "/no/where"}, "Cannot read")):
        with pytest.raises((RequestError, DataError), match=words):
            examine(Config(model="/no/model", **settings))
