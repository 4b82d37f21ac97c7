"""Structured output: texts always fit, and under every drafter the law is that of plain masked decoding."""

from __future__ import annotations

import builtins
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import paceline
from paceline import Engine, Grammar, ModelError, Request, RequestError, Sampling, plugins
from paceline.core.sampling import law_of
from paceline.drafters.small_model import SmallModel
from paceline.lm import LM
from paceline.testing import ToyLM, outcomes
from tests.laws import TIGHT, TreeDrafter, distance, softmax_of

LETTERS = "abc"
END = 0
PATTERN = "a(b|ca)*c?"
SCHEMA = {"type": "object", "required": ["name", "count"], "additionalProperties": False, "properties": {
    "name": {"type": "string", "maxLength": 5}, "count": {"type": "integer", "minimum": 0, "maximum": 99},
    "kind": {"enum": ["red", "green"]}}}  # fmt: skip


def letters() -> Any:
    """A tokenizer of three letters and an end."""
    made = Tokenizer(models.BPE(vocab={"<e>": END, **{c: i + 1 for i, c in enumerate(LETTERS)}}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<e>")


TOY, OTHER = ToyLM(4, seed=1, tokenizer=letters()), ToyLM(4, seed=2, tokenizer=letters())


def may_follow(text: Sequence[int]) -> torch.Tensor:
    """By Python's own regular expressions: a letter where some completion matches, the end where the text does."""
    written = "".join(LETTERS[t - 1] for t in text)
    longer = ["".join(more) for n in range(3) for more in itertools.product(LETTERS, repeat=n)]
    allowed = [re.fullmatch(PATTERN, written) is not None]
    allowed += [any(re.fullmatch(PATTERN, written + c + more) for more in longer) for c in LETTERS]
    return torch.tensor(allowed)


def masked_law(sampling: Sampling, count: int) -> dict[tuple[int, ...], float]:
    done, open_ = dict[tuple[int, ...], float](), {(): 1.0}
    for _ in range(count):
        longer: dict[tuple[int, ...], float] = {}
        for text, weight in open_.items():
            logits = TOY.logits([1, 2, *text]).masked_fill(~may_follow(text), -torch.inf)
            for token, p in enumerate(law_of(logits, sampling).tolist()):
                if p > 0:
                    (done if token == END else longer)[*text, token] = weight * p
        open_ = longer
    return done | open_


def drafted_law(sampling: Sampling, count: int, drafter: Any) -> dict[tuple[int, ...], float]:
    engine = Engine(TOY, drafter, slots=1)

    def run(noise: Any) -> tuple[int, ...]:
        row = engine.submit(Request([1, 2], sampling, max_new_tokens=count, eos=frozenset({END})))
        row.dice = noise
        while row.finish_reason is None:
            engine.step()
        assert not row.stats.failures, row.stats.failures
        return tuple(row.new_tokens)

    law: dict[tuple[int, ...], float] = defaultdict(float)
    for text, weight in outcomes(run):
        law[text] += weight
    return dict(law)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.6, "top_k": 2}, {"top_p": 0.8}], ids=str)
@pytest.mark.parametrize("drafter", [
    "none", "forced", "ngram:max_n=2,min_n=1,length=2,worth=0", "forced:inner=[ngram:max_n=2,min_n=1,length=2,worth=0]",
    SmallModel(model=OTHER, length=2, worth=0.0), SmallModel(model=OTHER, length=1, branch=2, worth=0.0),
    TreeDrafter(softmax_of(OTHER), [-1, 0, -1], [True, True, False])], ids=lambda d: str(d)[:40])  # fmt: skip
def test_the_law_is_that_of_plain_masked_decoding(drafter: Any, settings: dict[str, Any]) -> None:
    sampling = Sampling(**{"temperature": 1.0, "seed": 0, **settings}, grammar=Grammar.regex(PATTERN))
    assert distance(drafted_law(sampling, 4, drafter), masked_law(sampling, 4)) < TIGHT


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("name", plugins.names("drafter"))
def test_every_drafter_writes_what_the_schema_allows(name: str, slots: int, temperature: float, lm: LM, tiny_of: Any) -> None:
    sampling = Sampling(temperature=temperature, seed=4, grammar=Grammar.json_schema(SCHEMA))
    given = {"sampling": sampling, "max_new_tokens": 80, "slots": slots, "reproducible": True}
    prompts = [[5, 6, 7], [90, 91, 90, 91], [40]]
    out = paceline.generate(lm, prompts, drafter=tiny_of(name, lm), **given)
    for generation in out:
        assert generation.finish_reason == "eos" and not generation.stats.failures
        value = json.loads(generation.text)
        assert isinstance(value["name"], str) and len(value["name"]) <= 5 and 0 <= value["count"] <= 99
        assert set(value) <= {"name", "count", "kind"}
    assert [g.tokens for g in out] == [g.tokens for g in paceline.generate(lm, prompts, **given)]


def test_forced_tokens_are_drafts(lm: LM) -> None:
    sampling = Sampling(grammar=Grammar.json_schema(SCHEMA))
    given = {"sampling": sampling, "max_new_tokens": 80}
    plain, forced = (paceline.generate(lm, [[5, 6]], drafter=name, **given)[0] for name in ("none", "forced"))
    assert forced.tokens == plain.tokens and forced.stats.sources["forced"][1] >= 10
    assert forced.stats.rounds < 0.8 * plain.stats.rounds


@pytest.mark.parametrize("grammar", [Grammar.regex("[0-9]{3}-[0-9]{2}"), Grammar.choice(w for w in ("yes", "no", "never")),
                                     Grammar.lark('start: "x" ("," "x"){2}')])  # fmt: skip
def test_other_kinds(grammar: Grammar, lm: LM) -> None:
    text = paceline.generate(lm, [[5, 6]], sampling=Sampling(grammar=grammar), drafter="forced:inner=ngram")[0].text
    assert re.fullmatch("[0-9]{3}-[0-9]{2}|yes|no|never|x,x,x", text)


def test_a_text_that_is_cut_ends_by_length_and_rows_without_a_grammar_stay_as_they_are(lm: LM) -> None:
    cut = paceline.generate(lm, [[5, 6]], sampling=Sampling(grammar=Grammar.json_schema(SCHEMA)), max_new_tokens=4)[0]
    assert cut.finish_reason == "length" and cut.text.startswith('{"na')
    engine = Engine(lm, "forced:inner=[ngram:worth=0,min_n=1]", exact=False)
    requests = [Request([5, 6, 5, 6, 5], Sampling(grammar=g), 24, frozenset({1})) for g in (None, Grammar.regex("(ab)*"))]
    free, _ = engine.run(requests)
    assert free.tokens == paceline.generate(lm, [[5, 6, 5, 6, 5]], max_new_tokens=24)[0].tokens


def test_logprobs_stops_and_streams_go_with_a_grammar(lm: LM) -> None:
    sampling = Sampling(grammar=Grammar.regex("[ab]{6}"), logprobs=1, raw_logprobs=False)
    out = paceline.generate(lm, [[5, 6]], sampling=sampling)[0]
    assert len(out.logprobs) == 7 and all(entry.logprob <= 0 for entry in out.logprobs)
    assert "".join(p.text for p in paceline.stream(lm, "xy", sampling=sampling, drafter="forced")) == \
        paceline.generate(lm, ["xy"], sampling=sampling)[0].text
    stopped = paceline.generate(lm, [[5, 6]], sampling=sampling, stop=[out.text[2:4]])[0]
    assert stopped.finish_reason == "stop" and stopped.text == out.text[:out.text.index(out.text[2:4])]


@pytest.mark.parametrize(("grammar", "said"), [
    (lambda: Grammar.json_schema("{oops"), "not JSON"),
    (lambda: Grammar.json_schema([1]), "must be an object"),
    (lambda: Grammar.json_schema({"type": "object", "properties": {"age": {"type": "intger"}}}), r"at properties\.age"),
    (lambda: Grammar.regex("(ab"), "The regex cannot be used"),
    (lambda: Grammar.regex(""), "non-empty"),
    (lambda: Grammar.choice([]), "list of non-empty texts"),
    (lambda: Grammar.choice("yes"), "list of non-empty texts"),
    (lambda: Grammar.choice(5), "list of non-empty texts"),
    (lambda: Grammar.choice(["yes", "\udc80"]), "valid Unicode"),
    (lambda: Grammar.regex("\udc80"), "valid Unicode"),
    (lambda: Grammar.json_schema({"const": "\udc80"}), "valid Unicode"),
    (lambda: Grammar.lark("start: nothing"), "The Lark grammar cannot be used"),
])  # fmt: skip
def test_bad_grammars_are_named(grammar: Any, said: str, lm: LM) -> None:
    with pytest.raises(RequestError, match=said):
        paceline.generate(lm, [[5]], sampling=Sampling(grammar=grammar()))


def test_few_tries_find_one_mistake_among_hundreds(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mistakes alike, and lists beside them that are none."""
    kinds = {f"name {i}": {"type": "intger" if i in (170, 370) else "integer"} for i in range(400)}
    schema = {"enum": [[1]], "$defs": {"kind": {"enum": [["a"]]}}, "type": "object", "properties": kinds}
    tries = []
    original = paceline.core.grammar._try
    monkeypatch.setattr("paceline.core.grammar._try", lambda *given: tries.append(given) or original(*given))
    with pytest.raises(RequestError, match=r"at properties\.name 370: Invalid type: intger"):
        paceline.generate(lm, "x", sampling=Sampling(grammar=Grammar.json_schema(schema)))
    assert len(tries) < 30


def test_models_that_cannot_and_a_library_that_is_not_there(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="needs a tokenizer"):
        paceline.generate(ToyLM(4), [[1]], sampling=Sampling(grammar=Grammar.regex("a")))
    with pytest.raises(RequestError, match="must be a Grammar"):
        Sampling(grammar="a*")  # type: ignore[arg-type]
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("llguidance"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModelError, match=r"pip install 'paceline\[grammar\]'"):
        paceline.generate(ToyLM(4, tokenizer=letters()), [[1]], sampling=Sampling(grammar=Grammar.regex("a")))


OPTIONS = [f"item {i}" for i in range(2100)]
MANY = {
    "choice": Grammar.choice(OPTIONS),
    "lark": Grammar.lark("start: " + " | ".join(map(json.dumps, OPTIONS))),
    "anyOf": Grammar.json_schema({"anyOf": [{"const": option} for option in OPTIONS]}),
    "properties": Grammar.json_schema({"type": "object", "additionalProperties": False, "required": ["name 1000"], "properties": {
        f"name {i}": {"const": i} for i in range(1001)}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", MANY)
def test_thousands_of_choices(kind: str, lm: LM) -> None:
    given = {"sampling": Sampling(grammar=MANY[kind]), "max_new_tokens": 24}
    plain, drafted = (paceline.generate(lm, "x", drafter=d, **given)[0] for d in ("none", "forced"))
    assert plain.tokens == drafted.tokens and not plain.stats.failures
    if kind != "properties":
        assert plain.finish_reason == "eos" and plain.text.strip('"') in OPTIONS


def test_a_parser_that_gives_up_is_an_error(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.core.grammar.LIMITS", {"max_items_in_row": 50})
    with pytest.raises(RequestError, match="too complex for its parser"):
        paceline.generate(lm, "x", sampling=Sampling(grammar=Grammar.choice([f"thing {i}" for i in range(60)])))


def test_an_unknown_format_does_not_bind_the_text(lm: LM, caplog: pytest.LogCaptureFixture) -> None:
    schema = {"type": "object", "required": ["format"], "additionalProperties": False, "properties": {
        "format": {"type": "string", "format": "house-number", "maxLength": 2}}}  # fmt: skip
    out = paceline.generate(lm, "x", sampling=Sampling(grammar=Grammar.json_schema(schema)))[0]
    assert list(json.loads(out.text)) == ["format"] and "'house-number' is unknown" in caplog.text
