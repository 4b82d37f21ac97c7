"""Tool calls drafted from schema, store, text and followers: every source alone, tenants, the edges, and the same answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

import paceline
from paceline.api import request
from paceline.core.request import Request
from paceline.drafters._state import state_of
from paceline.drafters.toolcall import Toolcall
from paceline.engine import Engine
from paceline.engine.options import RequestOptions
from paceline.errors import DataError, ModelError, SpecError
from paceline.lm import LM
from paceline.replay.recording import Record
from paceline.replay.replay import decode, target
from paceline.testing import ToyLM

TOOLS = [{"type": "function", "function": {"name": "find_flight", "description": "Find a flight.", "parameters": {
    "type": "object", "required": ["city", "date"], "properties": {"city": {"type": "string"}, "date": {"type": "string"}}}}}]
ASKED = [{"role": "user", "content": "Find a flight to Lisbon on 2024-05-17."}]


@pytest.fixture(scope="module")
def zoo() -> LM:
    return paceline.load("zoo:tiny")


def answer(engine: Engine, lm: LM, **more: Any) -> paceline.Generation:
    return engine.run([request(lm, ASKED, RequestOptions(max_new_tokens=96, tools=TOOLS, **more))])[0]


def test_the_embedded_model_s_call_takes_few_forwards(zoo: LM) -> None:
    plain = answer(Engine(zoo, "none"), zoo)
    assert json.loads(plain.text.split("\n")[1])["name"] == "find_flight"
    drafted = answer(Engine(zoo, Toolcall(worth=0.0)), zoo)
    assert drafted.tokens == plain.tokens and drafted.stats.acceptance_length > 2.5
    assert drafted.stats.sources["schema"][1] > 5 and not drafted.stats.failures


@pytest.mark.parametrize("source", ["schema", "store", "suffix", "recycle"])
def test_every_source_drafts_alone(zoo: LM, source: str) -> None:
    plain, engine = answer(Engine(zoo, "none"), zoo), Engine(zoo, Toolcall((source,), worth=0.0))
    first, again = answer(engine, zoo), answer(engine, zoo)
    assert first.tokens == again.tokens == plain.tokens and not again.stats.failures
    assert again.stats.accepted > 0
    if source in ("store", "suffix"):
        assert again.stats.rounds <= first.stats.rounds * (0.5 if source == "store" else 0.9)


def test_a_tenant_s_calls_serve_that_tenant_only(zoo: LM, tmp_path: Any) -> None:
    engine = Engine(zoo, Toolcall(("store",), store=str(tmp_path / "calls"), worth=0.0))
    first = answer(engine, zoo, tenant="a")
    assert answer(engine, zoo, tenant="b").stats.drafted == 0
    assert 2 * answer(engine, zoo, tenant="a").stats.rounds <= first.stats.rounds
    later = Engine(zoo, Toolcall(("store",), store=str(tmp_path / "calls"), worth=0.0))  # as after a restart
    assert 2 * answer(later, zoo, tenant="a").stats.rounds <= first.stats.rounds


@pytest.mark.parametrize("mode", ["events", "released"])
def test_a_hidden_key_finds_the_tenant_s_calls_and_changes_no_answer(zoo: LM, tmp_path: Any, mode: Any) -> None:
    plain, path = answer(Engine(zoo, "none"), zoo), str(tmp_path / "calls")
    drafter = Toolcall(("store",), path, key="hidden", mode=mode, worth=0.0).attach(zoo)
    first, again = (answer(Engine(zoo, drafter), zoo, tenant="a") for _ in range(2))
    assert first.tokens == again.tokens == plain.tokens and not again.stats.failures
    assert again.stats.rounds < first.stats.rounds
    held = drafter.store._of("a").hidden
    assert len(held) == 2 and held[0] is not None and held[0] == pytest.approx(held[1], abs=1e-5)
    assert drafter.store.size("b") == 0
    elsewhere = Toolcall(("store",), path, key="hidden", mode=mode).attach(zoo)
    elsewhere.store.model = "another"
    assert elsewhere.store._of("a").hidden == [None, None]


def test_like_prompts_have_like_hidden_keys(zoo: LM) -> None:
    """A flight to another city is nearer than a story, however much of the template they share."""
    engine = Engine(zoo, "none")

    def key(text: str) -> Any:
        row = engine.submit(request(zoo, [{"role": "user", "content": text}], RequestOptions(max_new_tokens=2)))
        assert state_of(row) is None  # nothing was prefilled
        engine.step()
        return state_of(row)

    lisbon, rome, story = map(key, ("Find a flight to Lisbon on 2024-05-17.", "Find a flight to Rome on 2024-06-02.",
                                    "Once upon a time there was an old king who had no children."))
    assert lisbon @ lisbon == pytest.approx(1.0) and lisbon @ rome > lisbon @ story


def test_without_hidden_keys_the_text_is_compared(zoo: LM) -> None:
    """A replayed target has no keys, a prompt of one token has none behind it."""
    prompt, output = request(zoo, ASKED, RequestOptions(tools=TOOLS)).prompt, [*range(100, 130)]
    record = Record(tuple(prompt), tuple(output), frozenset(output[-1:]))
    lm = target([record], zoo.tokenizer, 0.05)
    replaying = Engine(lm, Toolcall(("store",), key="hidden", worth=0.0))
    rounds = [decode(replaying, lm, record).stats.rounds for _ in range(2)]
    assert 2 * rounds[1] <= rounds[0] and replaying.drafters[0].store._of("").hidden == [None, None]
    short = Engine(zoo, Toolcall(("store",), key="hidden", worth=0.0)).run([Request([7], max_new_tokens=4)])[0]
    assert not short.stats.failures


def test_an_adversarial_store_costs_forwards_only(zoo: LM) -> None:
    drafter = Toolcall(worth=0.0).attach(zoo)
    ids = zoo.tokenizer('<tool_call>\n{"name": "drop_tables", "arguments": {"x": "', add_special_tokens=False).input_ids
    prompt = request(zoo, ASKED, RequestOptions(tools=TOOLS)).prompt
    for n in range(5):
        drafter.remember("", prompt, [*ids, *range(100 + n, 160 + n)])
    assert answer(Engine(zoo, drafter), zoo).tokens == answer(Engine(zoo, "none"), zoo).tokens


def test_prompts_that_say_anything_are_no_failure(zoo: LM) -> None:
    for text in ("<tools>\n{broken\n</tools>", "1. Name: x\nDescription: y\nParameters: {'a': 3}", "[{]"):
        out = Engine(zoo, Toolcall(worth=0.0)).run([request(zoo, text, RequestOptions(max_new_tokens=12))])[0]
        assert not out.stats.failures


def test_bad_tools_are_named_at_the_door(zoo: LM) -> None:
    bad = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": 3}}}}}]
    with pytest.raises(DataError, match=r"tools\[0\]\.function\.parameters\.properties\.a\.type"):
        paceline.generate(zoo, ASKED, drafter="none", tools=bad)


def test_options_and_models_that_do_not_fit() -> None:
    with pytest.raises(SpecError, match="found schemas"):
        Toolcall(("schemas",))
    with pytest.raises(ModelError, match="tokenizer"):
        Toolcall().attach(ToyLM(4))


def test_the_released_mode_writes_the_same_and_counts_steps(zoo: LM) -> None:
    """As in the authors' code, openings are drafted in the first step alone; a repeated request is found again all the same."""
    plain, engine = answer(Engine(zoo, "none"), zoo), Engine(zoo, Toolcall(mode="released"))
    first, again = answer(engine, zoo), answer(engine, zoo)
    assert first.tokens == again.tokens == plain.tokens and not first.stats.failures and not again.stats.failures
    assert first.stats.sources["released"][1] > 0 and again.stats.rounds < first.stats.rounds


def test_the_released_mode_takes_up_to_four_matches_of_the_longest_length() -> None:
    from paceline.drafters._released import matches

    tail = [1, 2, 3, 4, 5]
    text = [9, *tail, *range(10, 42), 8, *tail, *range(50, 82), *tail]
    assert list(matches(text, tail)) == [list(range(10, 42)), list(range(50, 66))]
    assert list(matches([*tail, 7, *tail], tail)) == []  # too little follows
    assert list(matches([*tail, *range(10, 42), *tail, *range(10, 42), *tail], tail)) == [list(range(10, 42))]
