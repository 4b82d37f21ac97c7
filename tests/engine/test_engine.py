"""The round loop: rows that join, leave, stop and are cancelled, and what is counted on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paceline import Engine, Request, Sampling
from paceline.core.row import Row
from paceline.drafters.ngram import Ngram
from paceline.drafters.small_model import SmallModel
from paceline.lm import LM
from paceline.testing import ToyLM, tiny_lm
from tests.tiny import nearly

TOY = ToyLM(5, seed=4)
EAGER = Ngram(max_n=2, min_n=1, length=4, worth=0.0)
WARM = Sampling(temperature=1.0, seed=3)
OTHER = SmallModel(model=ToyLM(5, seed=5), length=3, worth=0.0)
SAME = SmallModel(model=TOY, length=4, branch=2, worth=0.0)
DRAFTERS = ("none", EAGER, OTHER, SAME)


def finish(engine: Engine, *rows: Row) -> list[list[int]]:
    while any(row.finish_reason is None for row in rows):
        engine.step()
    return [row.new_tokens for row in rows]


def alone(request: Request, lm=TOY) -> list[int]:
    return Engine(lm).run([request])[0].tokens


def holds(engine: Engine) -> None:
    """Invariant 1, and no slot without a row."""
    assert {r.slot for r in engine.rows} == set(engine.kv.active) and len(engine.kv.active) == len(engine.rows)
    assert all(r.slot.length == len(r.tokens) - 1 for r in engine.rows)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_rows_join_and_leave_at_any_round(drafter) -> None:
    requests = [Request([i % 5, (i + 2) % 5, 1][: 1 + i % 3], max_new_tokens=1 + (7 * i) % 19) for i in range(9)]
    engine = Engine(TOY, drafter, slots=3)
    rows: list[Row] = []
    for request in requests:
        rows.append(engine.submit(request))
        engine.step()
        holds(engine)
    assert finish(engine, *rows) == [alone(r) for r in requests]
    assert not engine.rows and not engine.kv.active and engine.step() == []


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_permuting_or_adding_rows_changes_no_row(drafter) -> None:
    requests = [Request([a, b], max_new_tokens=14) for a in range(3) for b in range(2)]
    wanted = {tuple(r.prompt): alone(r) for r in requests}
    for order in (requests, requests[::-1], requests[2:5], requests * 2):
        out = Engine(TOY, drafter, slots=len(order)).run(order)
        assert [g.tokens for g in out] == [wanted[tuple(r.prompt)] for r in order]


def test_permuting_rows_of_a_real_model(lm: LM) -> None:
    requests = [Request(list(range(5, 5 + n)), max_new_tokens=16) for n in (2, 30, 11)]
    wanted = [alone(r, lm) for r in requests]
    drafter = SmallModel(model=nearly(lm), length=3, worth=0.0)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0, 1]):
        out = Engine(lm, drafter, exact=False).run([requests[i] for i in order])
        assert [g.tokens for g in out] == [wanted[i] for i in order]


def test_cancel_in_the_queue_between_rounds_and_after_the_end() -> None:
    engine = Engine(TOY, OTHER, slots=2)
    rows = [engine.submit(Request([1, i], max_new_tokens=30)) for i in range(3)]
    engine.step()
    engine.cancel(rows[2])
    assert rows[2].finish_reason == "cancelled" and not rows[2].new_tokens
    engine.step()
    so_far = list(rows[0].new_tokens)
    engine.cancel(rows[0])
    holds(engine)
    assert engine.generation(rows[0]).finish_reason == "cancelled" and engine.generation(rows[0]).tokens == so_far
    assert alone(Request([1, 0], max_new_tokens=30))[: len(so_far)] == so_far
    assert finish(engine, rows[1]) == [alone(Request([1, 1], max_new_tokens=30))]
    engine.cancel(rows[1])
    assert rows[1].finish_reason == "length"


def test_an_error_in_a_run_leaves_the_engine_usable() -> None:
    def broken(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    engine = Engine(TOY, EAGER)
    with pytest.raises(ZeroDivisionError):
        engine.run([Request([1]), Request([2], Sampling(processors=(broken,)))])
    assert not engine.rows and not engine.kv.active
    assert engine.run([Request([1], max_new_tokens=9)])[0].tokens == alone(Request([1], max_new_tokens=9))


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_max_new_tokens_is_exact(limit: int, drafter) -> None:
    out = Engine(TOY, drafter).run([Request([1, 2], max_new_tokens=limit), Request([3], max_new_tokens=limit + 1)])
    assert [len(g.tokens) for g in out] == [limit, limit + 1]
    assert {g.finish_reason for g in out} == {"length"}


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("seed", range(4))
def test_any_of_several_ends_truncates_an_accepted_run(seed: int, drafter) -> None:
    request = Request([1, 2], Sampling(temperature=1.5, seed=seed), max_new_tokens=40, eos=frozenset({0, 3}), reproducible=True)
    plain, drafted = Engine(TOY).run([request])[0], Engine(TOY, drafter).run([request])[0]
    assert drafted.tokens == plain.tokens and drafted.finish_reason == plain.finish_reason == "eos"
    assert drafted.tokens[-1] in (0, 3) and not {0, 3} & set(drafted.tokens[:-1])


def test_an_end_inside_an_accepted_run_was_really_there() -> None:
    """The draft ran past the end token and was accepted beyond it, or the test above would show little."""
    free = alone(Request([1, 2], max_new_tokens=12))
    engine = Engine(TOY, SmallModel(model=TOY, length=6, worth=0.0))
    row = engine.submit(Request([1, 2], max_new_tokens=12, eos=frozenset({free[2]})))
    finish(engine, row)
    end = free.index(free[2])
    assert row.new_tokens == free[: end + 1]
    assert len(row.last.verdict.path) > row.last.committed
    assert row.stats.accepted <= row.stats.new_tokens == end + 1


@pytest.mark.parametrize("drafter", ["none", EAGER, "self"])
@pytest.mark.parametrize("start", range(0, 12, 3))
def test_stop_strings_inside_runs_and_across_rounds(start: int, drafter, lm: LM) -> None:
    drafter = SmallModel(model=lm, length=5, worth=0.0) if drafter == "self" else drafter
    free = Engine(lm).run([Request([70, 71, 72], max_new_tokens=20)])[0]
    stop = free.text[start : start + 3]
    request = Request([70, 71, 72], max_new_tokens=20, stop=("never there", stop))
    plain, drafted = Engine(lm).run([request])[0], Engine(lm, drafter).run([request])[0]
    assert (drafted.text, drafted.tokens, drafted.finish_reason) == (plain.text, plain.tokens, plain.finish_reason)
    assert plain.finish_reason == "stop" and plain.text == free.text[: free.text.index(stop)]
    assert plain.tokens == free.tokens[: len(plain.tokens)]


def test_until_ends_a_row_after_any_token() -> None:
    def three_alike(tokens) -> bool:
        return len(tokens) > 6

    out = Engine(TOY, SAME).run([Request([1, 2], max_new_tokens=30, until=three_alike)])[0]
    assert len(out.tokens) == 5 and out.finish_reason == "stop"


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("sampling", [Sampling(), WARM, Sampling(temperature=0.8, top_k=3, repetition_penalty=1.3, seed=1)])
def test_logprobs_equal_plain_decodings(sampling: Sampling, raw: bool, drafter) -> None:
    request = Request([1, 2], replace(sampling, logprobs=2, raw_logprobs=raw), max_new_tokens=15, reproducible=True)
    plain, drafted = Engine(TOY).run([request])[0], Engine(TOY, drafter).run([request])[0]
    assert [p.token for p in drafted.logprobs] == drafted.tokens == plain.tokens
    for ours, theirs in zip(drafted.logprobs, plain.logprobs, strict=True):
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-9)
        assert ours.top == [(t, pytest.approx(p, abs=1e-9)) for t, p in theirs.top] and len(ours.top) == 2
    if raw:
        table = TOY.logits([1, 2]).log_softmax(-1)
        assert plain.logprobs[0].logprob == pytest.approx(float(table[plain.tokens[0]]), abs=1e-9)
        assert [t for t, _ in plain.logprobs[0].top] == table.topk(2).indices.tolist()


def test_logprobs_of_a_real_model(lm: LM) -> None:
    request = Request([70, 71, 72] * 3, Sampling(logprobs=3), max_new_tokens=24)
    plain = Engine(lm, exact=False).run([request])[0]
    drafted = Engine(lm, SmallModel(model=nearly(lm), length=4, branch=2, worth=0.0), exact=False).run([request])[0]
    for ours, theirs in zip(drafted.logprobs, plain.logprobs, strict=True):
        assert ours.token == theirs.token and ours.logprob == pytest.approx(theirs.logprob, abs=1e-5)
        assert dict(ours.top) == pytest.approx(dict(theirs.top), abs=1e-5)
    with torch.inference_mode():
        text = torch.tensor([[*request.prompt, *plain.tokens]])
        table = lm.model(text).logits[0, len(request.prompt) - 1 : -1].log_softmax(-1)
    chosen = table.gather(1, torch.tensor(plain.tokens)[:, None])[:, 0].tolist()
    assert [p.logprob for p in plain.logprobs] == pytest.approx(chosen, abs=1e-5)


def test_no_logprobs_unless_asked() -> None:
    assert Engine(TOY).run([Request([1])])[0].logprobs is None
    assert Engine(TOY).run([Request([1], Sampling(logprobs=0), max_new_tokens=3)])[0].logprobs[0].top == []


def test_costs_are_measured_again_between_rounds() -> None:
    lm, calls = tiny_lm(), []
    lm.costs.renew = lambda slots: calls.append(len(engine.rows))
    engine = Engine(lm)
    engine.run([Request([1, 2, 3], max_new_tokens=5)])
    assert calls == [1] * 4  # not before the first
