"""Comparing quality on a tiny quantised file: floats lose nothing to themselves, rounding does, and a changed answer is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import paceline
from paceline.bench import quality, quality_table, suite
from paceline.bench.page import front, render
from paceline.bench.quality import Quality, apart, compare
from paceline.bench.rivals import Terms
from paceline.bench.smol_targets import SMOL
from paceline.convert.gguf import model_contents, write
from paceline.convert.loss import logits_of
from paceline.errors import RequestError
from paceline.lm.load import load_tokenizer
from paceline.testing import tiny_model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    model = tiny_model("llama", vocab=4100)
    write(path, model_contents(paceline.load(model, forward="stock", tokenizer=load_tokenizer("zoo:tiny"))), "q8_0")
    return path


@pytest.fixture(scope="module")
def asked(file: Path) -> Quality:
    prompts = file.with_suffix(".jsonl")
    records = [{"category": "a", "turns": ["one two three"]}, {"category": "b", "turns": ["four, five"]}, {"prompt": "six seven"}]
    prompts.write_text("\n".join(map(json.dumps, records)))
    return Quality(str(file), prompts=str(prompts), against=("llama_cpp", "transformers"), max_new_tokens=6, threads=1)


def floats(what: str, wanted: Any, terms: Terms) -> dict[str, Any]:
    """Rivals that are our own float activations; llama.cpp with a third of every logit."""
    read = logits_of(terms.lm)
    return {"llama_cpp": lambda ids: read(ids) / 3, "transformers": read}


@pytest.fixture(scope="module")
def report(asked: Quality) -> dict[str, Any]:
    ticks: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(quality, "showing", floats)
        found = compare(asked, ticks.append)
    assert ticks == [12] * 12  # three texts read by three sides, and three answers
    return found | {"command": suite.command(asked)}


def test_floats_are_themselves_and_rounding_moves_them(report: dict[str, Any]) -> None:
    ours, other, same = (report["quality"][name] for name in ("paceline", "llama_cpp", "transformers"))
    assert same["divergence"] == 0 and same["same"] == 1 and same["perplexity"] == {"value": 1, "low": 1, "high": 1}
    assert 0 < ours["divergence"] < other["divergence"] and ours["after"] != ours["before"] == other["before"]
    assert list(ours["by_task"]) == ["a", "b", "prompts"]
    assert sum(kind["tokens"] for kind in ours["by_task"].values()) == ours["tokens"]
    assert report["answers"] == {"tokens": 18, "identical": 1.0, "ties": 0, "differences": []}


def test_another_answer_is_found(asked: Quality, monkeypatch: pytest.MonkeyPatch) -> None:
    def doubting(what: str, wanted: Any, terms: Terms) -> dict[str, Any]:
        read = logits_of(terms.lm)
        return {"transformers": lambda ids: read(ids).index_fill(0, torch.tensor([len(ids) - 2]), 0.0)}

    monkeypatch.setattr(quality, "showing", doubting)
    found = compare(asked)["answers"]  # of logits that are all the same the first is taken, which is not ours
    assert [place["index"] for place in found["differences"]] == [5, 5, 5]
    assert found["identical"] == 0 and found["ties"] == 3


def test_places_where_another_token_is_likelier() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.5, 1.0], [2.0, 0.0, 0.0]])
    assert apart(logits, [1, 2, 0]) == [] and apart(logits, [1, 1, 2]) == [(1, 0.5), (2, 2.0)]


def test_the_page_has_it_with_its_targets(report: dict[str, Any]) -> None:
    assert report["command"].startswith("paceline bench --quality --model ") and "--max-new-tokens 6" in report["command"]
    text = quality_table.markdown(report)
    assert text.count("| paceline, int8 |") == 4 and "3 of 3 answers" in text
    page = render({"quality_smol": report})
    assert page.index("## quality_smol") < page.index("# Appendix")
    rows = front({"quality_smol": report}).splitlines()
    asked = [target.figure for target in SMOL if target.benchmark == "quality_smol"]
    assert len(asked) == 3 and all(any(f"| {figure} |" in row for row in rows) for figure in asked)


def test_what_cannot_be_compared(asked: Quality, file: Path, monkeypatch: pytest.MonkeyPatch, paceline_cli: Callable) -> None:
    monkeypatch.setattr("paceline.bench.rivals.openvino.missing", lambda source: "")
    outcome = paceline_cli("bench", "--quality", "--model", file, "--prompts", asked.prompts, "--against", "openvino")
    assert outcome.code == 1 and "openvino shows no logits of a text" in outcome.err
    with pytest.raises(RequestError, match="Did you mean 'llama_cpp'"):
        Quality(against=("lama_cpp",))
