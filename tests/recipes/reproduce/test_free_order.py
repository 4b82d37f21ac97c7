"""A language of known freedom: what counts as right in it; and both reproductions on it, at their smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paceline.errors import DataError, RequestError
from paceline.recipes.reproduce import ngram_oaxe, oaxe
from paceline.recipes.reproduce._free_order import ratio
from paceline.recipes.reproduce._grammar import DT, JJ, WORDS, Grammar, N, Sentence, V, common, figures, held_out, null


def test_a_translation_keeps_its_blocks_in_the_orders_that_the_grammar_has() -> None:
    both, one = Grammar(0.5), Grammar(1.0)
    source, subject, verb = held_out(both, 1)[0]
    assert subject + verb == [word + WORDS for word in source]
    assert both.orders(held_out(both, 1)[0]) == [subject + verb, verb + subject] != one.orders(held_out(one, 1)[0])
    first = [sum(int(row[0]) - WORDS in V for row in Grammar(share).batch(400, 0, 3).target) / 400 for share in (0.0, 0.8, 1.0)]
    assert first[0] == 1.0 and first[2] == 0.0 and abs(first[1] - 0.2) < 0.06
    again, other = both.batch(4, 0, 3), both.batch(4, 0, 4)
    assert again.source.equal(both.batch(4, 0, 3).source) and not again.source.equal(other.source)


def test_figures_of_sentences_by_hand() -> None:
    """A right order, either one; two blocks mixed; a word twice; determiners that changed places."""
    grammar = Grammar(agree=True)
    source = [DT[0], N[0], V[0], DT[1], JJ[0], N[1]]  # nouns of different gender
    sentence = Sentence(source, grammar.translated(source[:2]), grammar.translated(source[2:]))
    (a, n), (v, b, j, m) = sentence.subject, sentence.verb
    assert b == DT[1] + WORDS and a == DT[0] + 2 * WORDS or a == DT[0] + WORDS and b == DT[1] + 2 * WORDS

    def of(*words: int) -> list[float]:
        found = figures(grammar, [sentence], [list(words)])
        return [round(found[key], 3) for key in ("exact", "bag", "ordered", "lcs", "repetition", "lost", "disagree")]

    assert of(a, n, v, b, j, m) == of(v, b, j, m, a, n) == [1, 1, 1, 1, 0, 0, 0]
    assert of(b, n, v, a, j, m) == [0, 1, 0, 0.667, 0, 0.75, 1]
    assert of(a, v, n, b, j, m) == [0, 1, 0, 0.833, 0, 0.5, 0]
    assert of(a, n, v, v, j, m) == [0, 0, 0, 0.833, 0.167, 0.5, 0]
    assert figures(Grammar(1.0, True), [sentence], [[v, b, j, m, a, n]])["exact"] == 0
    assert common([1, 2, 3, 1], [2, 1, 3, 1]) == 3 and common([1], [2]) == 0


def test_right_words_in_any_order_are_rarely_right() -> None:
    found = null(Grammar(agree=True), 400)
    assert found["bag"] == 1 and found["exact"] < 0.1 and found["lost"] > 0.7 and 0.4 < found["disagree"] < 0.8


def test_a_ratio_over_seeds_needs_something_to_divide_by() -> None:
    assert ratio([{"x": 1.0}, {"x": 2.0}], [{"x": 2.0}, {"x": 4.0}], "x") == "0.50 ± 0.00"
    assert ratio([{"x": 1.0}], [{"x": 0.0}], "x") == "–"


def test_both_run_through_and_share_what_they_trained(tmp_path: Path) -> None:
    page = oaxe.run(oaxe.Config(out=tmp_path, work=tmp_path / "work", seeds=1, fast=True))
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("step-*.pt")}
    other = ngram_oaxe.run(ngram_oaxe.Config(out=tmp_path, work=tmp_path / "work", seeds=1, fast=True))
    assert trained and all(path.stat().st_mtime_ns == at for path, at in trained.items())
    data, phrases = (json.loads(path.with_suffix(".json").read_text()) for path in (page, other))
    assert phrases["free"]["n = 1, OaXE"] == data["runs"]["0.5"]["OaXE, no XE before"]
    assert set(data["runs"]) == {"0.5", "1.0"} and len(data["runs"]["1.0"]["OaXE"]) == 1
    assert 0 < data["overhead"]["the grammar's"]["matching"] < 1
    for path in (page, other):
        assert path.with_suffix(".png").stat().st_size > 5000 and "nan" not in path.read_text()
    with pytest.raises(RequestError, match="at least 1 seed"):
        ngram_oaxe.run(ngram_oaxe.Config(seeds=0))
    with pytest.raises(DataError, match="width"):
        oaxe.run(oaxe.Config(out=tmp_path, work=tmp_path / "work"))
