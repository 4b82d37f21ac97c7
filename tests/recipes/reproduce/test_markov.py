"""The reproduction of Markov translation runs through at its smallest; its languages, horizons and judgements by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline.data.parallel import Pairs
from paceline.errors import RequestError
from paceline.recipes.reproduce import markov
from paceline.recipes.reproduce.markov._grammar import ENDINGS, Rule, drawn, taken_apart
from paceline.recipes.reproduce.markov._known import LINES, Size, made
from paceline.recipes.reproduce.markov._memory import grown
from paceline.recipes.reproduce.markov._real import FULL, ORDERS, USUAL, judged
from paceline.train import translation_metrics

SYSTEMS = [*map(str, ORDERS), USUAL]


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation_metrics, "DRAWS", 50)


def test_markov(tmp_path: Path) -> None:
    for name in ("x.en", "x.de"):
        (tmp_path / name).write_text("".join(f"{i}{' a' * (i % 4)}\n" for i in range(12)))
    files = [str(tmp_path / name) for name in ("x.en", "x.de")]
    config = markov.Config(*files, *files, tmp_path / "out", tmp_path / "work", seeds=1, beam=1, fast=True)
    page = markov.run(config)
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "The gain on the longest less that on the shortest" in text and page.with_suffix(".png").stat().st_size > 5000
    assert list(data["known"]) == list(LINES) and list(data["real"]["systems"]) == SYSTEMS
    assert data["real"]["systems"][FULL]["less_0"] == {"value": 0, "low": 0, "high": 0, "equal": True}
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").rglob("*[0-9].json")}
    assert {"known": markov.known(config), "real": markov.on_text(config)} == {key: data[key] for key in ("known", "real")}
    assert len(before) == 15 and all(file.stat().st_mtime_ns == time for file, time in before.items())  # nothing is done again


def test_without_texts_and_what_cannot_be_run(tmp_path: Path) -> None:
    assert markov.on_text(markov.Config()) is None
    with pytest.raises(RequestError, match="or none of them"):
        markov.on_text(markov.Config(src="x"))
    with pytest.raises(RequestError, match="at least 1, found 0 and 5"):
        markov.run(markov.Config(seeds=0))


@pytest.mark.parametrize("rule", sorted({line.rule for line in LINES.values()}, key=str))
def test_an_ending_follows_from_one_before_and_is_open_without_it(rule: Rule) -> None:
    made = drawn(rule, 800, 0, 0)
    source, (words, endings) = np.array(made.pairs[0]), taken_apart(np.array(made.pairs[1]))
    asked, answers = (endings[:, made.ruled.nonzero()[0] - back].ravel() for back in (rule.lag, 0))
    follows = {earlier: set(answers[asked == earlier]) for earlier in range(ENDINGS)}
    assert sorted(ending for [ending] in follows.values()) == list(range(ENDINGS))
    assert (source - source.min() == words).all()
    first = {len(set(endings[words[:, 0] == word, 0])) for word in range(8)}
    assert first == {1 if rule.kind == "choice in the source" else ENDINGS}


def test_an_order_is_enough_where_a_model_reaches_what_the_rule_asks_for() -> None:
    for line in LINES.values():
        if line.rule.kind != "choice in the source":
            model = made(line, Size(width=8))
            assert model.horizon(line.enough) >= line.rule.lag > model.horizon(line.enough - 1)


def test_systems_are_equal_where_the_whole_interval_is_small() -> None:
    """k = 4 loses the end of long sentences alone, k = 1 all words; the others write the references."""
    source = [" ".join("abcdefgh"[: 4 + i // 10]) for i in range(40)]
    test = Pairs(source, [text.upper() for text in source])
    texts: dict[str, list[str]] = {name: list(test.target) for name in SYSTEMS}
    texts["4"][30:] = [text[:-4] + "x y" for text in texts["4"][30:]]
    texts["1"] = ["x x x x"] * 40
    written: dict[str, Any] = {name: {"texts": some, "tokens": [list(text.encode()) for text in some]}
                               for name, some in texts.items()}
    found = judged(written, test)
    systems, lengths = found["systems"], found["by_length"]
    assert [name for name in SYSTEMS if not systems[name]["less_usual"]["equal"]] == ["1", "4"]
    assert systems["6"]["length"]["value"] == 1 and systems["1"]["length"]["value"] < 0.8
    assert [of["words"] for of in lengths["buckets"]] == [[4, 4], [5, 5], [6, 6], [7, 7]]
    assert [of["gain"]["value"] > 0 for of in lengths["buckets"]] == [False, False, False, True]
    assert lengths["longest_less_shortest"]["low"] > 0


def test_a_markov_decoder_keeps_so_many_bytes_however_long_the_text() -> None:
    found = grown((2, 4, 9, 30), 1)
    token = 2 * 3 * 128 * 4  # key and value, layers, width, bytes of a number
    assert found["markov"]["bytes"] == [2 * token, 4 * token, 4 * token, 4 * token]
    assert found["ar"]["bytes"] == [2 * token, 4 * token, 9 * token, 30 * token]
