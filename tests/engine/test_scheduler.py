"""Prompts are read in chunks between rounds: who waits for whom, counted in forwards, and whose keys are shared."""

from __future__ import annotations

import pytest
import torch

from paceline import Engine, Request
from paceline.core.guidance import Guidance
from paceline.core.row import Row
from paceline.lm import KV, LM
from paceline.lm.batch import Batch
from paceline.lm.lm import CHUNK
from paceline.testing import ToyLM

LONG = 5 * CHUNK + 7


class Counting(ToyLM):
    """Writes down the shape of each forward: (tokens of a chunk, from where on), or the rows of a round."""

    def __init__(self) -> None:
        super().__init__(5, seed=4)
        self.context, self.chunks, self.rounds, self.forwards = 8 * CHUNK, list[tuple[int, int]](), 0, 0

    def forward(self, batch: Batch, kv: KV) -> torch.Tensor:
        self.forwards += 1
        if batch.logits_at == ():
            self.chunks.append((batch.tokens.shape[1], batch.slots[0].length))
        else:
            self.rounds += 1
        return super().forward(batch, kv)


def prompt(seed: int, length: int) -> list[int]:
    return torch.randint(5, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def alone(request: Request) -> list[int]:
    return Engine(Counting(), "none").run([request])[0].tokens


def until(engine: Engine, *rows: Row) -> None:
    while any(not row.new_tokens for row in rows):
        engine.step()


def test_a_short_request_beside_a_long_prompt_waits_for_one_chunk() -> None:
    lm = Counting()
    engine = Engine(lm, "none")
    long = engine.submit(Request(prompt(0, LONG), max_new_tokens=4))
    engine.step()
    short = engine.submit(Request(prompt(1, 20), max_new_tokens=30))
    before = lm.forwards
    until(engine, short)
    assert lm.forwards - before <= 3  # one chunk of the long prompt, its own, and the round that gives its token
    assert not long.new_tokens and long in engine.waiting
    until(engine, long)
    assert short.new_tokens == alone(short.request)[: len(short.new_tokens)]


def test_those_who_decode_wait_for_one_chunk_a_round() -> None:
    lm = Counting()
    engine = Engine(lm, "none")
    decoding = engine.submit(Request([1, 2], max_new_tokens=40))
    until(engine, decoding)
    requests = [Request(prompt(seed, LONG), max_new_tokens=3) for seed in range(2)]
    rows = [engine.submit(request) for request in requests]
    while engine.waiting:
        read, rounds = sum(size for size, _ in lm.chunks), lm.rounds
        engine.step()
        assert lm.rounds == rounds + 1 and sum(size for size, _ in lm.chunks) - read <= CHUNK
    while engine.rows:
        engine.step()
    assert [row.new_tokens for row in rows] == [alone(request) for request in requests]
    assert decoding.new_tokens == alone(decoding.request)


def test_rows_that_come_together_go_on_together() -> None:
    lm = Counting()
    requests = [Request(prompt(seed, 2 * CHUNK), max_new_tokens=6) for seed in range(4)]
    out = Engine(lm, "none").run(requests)
    assert lm.rounds == 6 and [g.tokens for g in out] == [alone(request) for request in requests]


def test_chunks_end_where_they_do_without_a_cached_beginning() -> None:
    lm = Counting()
    engine = Engine(lm, "none", max_cached=1)
    engine.run([Request(prompt(0, 300), max_new_tokens=1)])
    lm.chunks.clear()
    [out] = engine.run([Request([*prompt(0, 300), *prompt(1, 300)], max_new_tokens=2)])
    assert out.stats.reused == 300 and lm.chunks == [(2 * CHUNK - 300, 300), (599 - 2 * CHUNK, 2 * CHUNK)]


def test_samples_of_one_long_prompt_read_it_once() -> None:
    lm = Counting()
    requests = [Request([*prompt(0, LONG), tail], max_new_tokens=3) for tail in range(4)]
    out = Engine(lm, "none").run(requests)
    assert sum(size for size, _ in lm.chunks) == LONG and [g.stats.reused for g in out] == [0, LONG, LONG, LONG]
    assert [g.tokens for g in out] == [alone(request) for request in requests]


@pytest.mark.parametrize("guidance", [None, Guidance(2.0, prompt(3, 2 * CHUNK))], ids=["", "guided"])
def test_a_cancelled_prompt_gives_its_slots_back(guidance: Guidance | None) -> None:
    engine = Engine(Counting(), "none", slots=1)
    row = engine.submit(Request(prompt(0, LONG), guidance=guidance))
    behind = engine.submit(Request([1, 2], max_new_tokens=3))
    engine.step()
    assert len(engine.kv.active) == len(row.texts) and row.slot.length == CHUNK
    engine.cancel(row)
    assert row.finish_reason == "cancelled" and not engine.kv.active and engine.waiting == [behind]
    until(engine, behind)


def test_keys_do_not_depend_on_who_asks(lm: LM) -> None:
    """Read in one piece, beside others, or behind a cached beginning: the text of a real model is the same."""
    text = [3 + token for token in prompt(5, 2 * CHUNK + 30)]
    [wanted] = Engine(lm, "none").run([Request(text, max_new_tokens=12)])
    engine = Engine(lm, "none", max_cached=2)
    engine.run([Request(text[:100], max_new_tokens=1)])
    busy, row = (engine.submit(Request(p, max_new_tokens=n)) for p, n in ((text[:3], 30), (text, 12)))
    while row.finish_reason is None:
        engine.step()
    assert row.new_tokens == wanted.tokens and row.stats.reused == 100 and busy.new_tokens
