"""What drafted tokens cost is measured on the model, not assumed."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import paceline
from paceline.drafters.ngram import Ngram
from paceline.lm import cost
from paceline.lm.batch import Batch
from paceline.lm.cost import TRIED, UNKNOWN, Costs, clamped
from paceline.lm.kv import KV
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.lm import HeadLM
from paceline.models.draft_head.shape import shape_for
from paceline.testing import tiny_lm, tiny_model

DAY = 86400


class Timing:
    """Time that only forwards take."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def time(self) -> float:
        return DAY + 5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Timing:
    made = Timing()
    monkeypatch.setattr(cost, "time", made)
    return made


def pretend(clock: Timing, seconds: Callable[[int], float], file: Path | None = None) -> Costs:
    """A model whose forward of so many tokens takes so long."""
    def forward(batch: Batch, kv: KV) -> torch.Tensor:
        clock.now += seconds(batch.tokens.shape[1])
        return torch.zeros(batch.tokens.shape[1], 3)

    return Costs(SimpleNamespace(context=999, reach=999, exact=False, cache=lambda *_: KV(), prefill=lambda *_: None,
                                 forward=forward), file=file)


def line(share: float, base: float = 0.004) -> Callable[[int], float]:
    return lambda tokens: base * (1 + share * (tokens - 1))


def test_the_slope_is_found_and_rises_with_the_rows(clock: Timing) -> None:
    cheap, dear = pretend(clock, line(0.0)), pretend(clock, line(0.3))
    assert cheap.token() == 0.01 and abs(dear.token() - 0.3) < 1e-9
    # Eight rows take 1 + 7 x 0.3 units for one token each, and every row's further token 8 x 0.3 more.
    assert abs(dear.token(8) - 2.4 / 3.1) < 1e-9
    assert abs(dear.extra(9) - 9 * 0.3) < 1e-9 and abs(dear.extra(30) - 30 * 0.3) < 1e-9
    assert abs(cheap.draft(pretend(clock, line(0.0))) - 1.0) < 1e-9
    assert abs(cheap.draft(pretend(clock, line(0.0, 0.001))) - 0.25) < 1e-9


def test_behind_a_long_text_a_further_token_costs_what_was_measured_there(clock: Timing) -> None:
    """Where each token reads thousands of keys, a further one costs as much as the first; behind a short text a tenth."""
    costs, asked = pretend(clock, line(0.1)), list[int]()
    short = costs.lm.forward

    def forward(batch: Batch, kv: KV) -> torch.Tensor:
        if batch.slots[0].length < 900:
            return short(batch, kv)
        asked.append(batch.tokens.shape[1])
        return short(Batch(batch.slots, torch.ones(1, 1 + 10 * (asked[-1] - 1))), kv)

    costs.lm.forward, costs.lm.reach = forward, 9999
    assert costs.token() == pytest.approx(0.1)
    for length in (900, 4096, 5000):
        costs.renew([SimpleNamespace(kv=None, length=length)])
    assert costs.token(1, 6000) == pytest.approx(1.0) and costs.token(1, 900) == pytest.approx(0.1)
    assert asked == [1] * 3 + [1 + TRIED] * 3  # once


def test_the_price_of_a_further_token_rises_where_arithmetic_begins_to_count(clock: Timing) -> None:
    costs = pretend(clock, lambda tokens: 0.004 * max(1.0, tokens / 4))
    assert costs.further(2) == 0.01 and abs(costs.further(6) - 0.25) < 1e-9 and abs(costs.further(9) - 0.25) < 1e-9


def test_a_slow_model_is_timed_a_few_times_only(clock: Timing) -> None:
    slow, quick = pretend(clock, line(0.1, base=1.0)), pretend(clock, line(0.1, base=1e-4))
    for costs, least, most in ((slow, 2, 2), (quick, 4, 10)):
        begun = clock.now
        assert costs.seconds(1) > 0
        assert least <= round((clock.now - begun) / costs.seconds(1)) <= most
    begun = clock.now
    assert slow.extra(16) > 0 and clock.now - begun <= 2.001 * (slow.seconds(1) + slow.seconds(8) + slow.seconds(16))  # no others


def test_what_disturbs_the_machine_for_a_while_spoils_no_size(clock: Timing) -> None:
    """The first forwards take ten times as long: a warm-up, or another process."""
    slow_until = clock.now + 0.004 * 2 * 10

    def seconds(tokens: int) -> float:
        return 0.004 * (1 + 0.1 * tokens) * (10 if clock.now < slow_until else 1)

    assert abs(pretend(clock, seconds).token() - 0.1 / 1.1) < 1e-9


def test_few_numbers_of_rows_are_measured() -> None:
    assert [clamped(rows) for rows in (0, 1, 2, 3, 5, 8, 9, 16, 100)] == [1, 1, 2, 4, 8, 8, 16, 16, 16]


def test_a_real_model_has_costs_and_prompt_lookup_goes_by_them() -> None:
    lm = tiny_lm()
    assert lm.costs.token() >= 0.01 and lm.costs.token() == lm.costs.token()
    assert tiny_lm(max_position_embeddings=12).costs.token() == UNKNOWN
    lookup = Ngram().attach(lm)
    lookup.propose([SimpleNamespace(id=0, tokens=[1, 2, 3])], [4])
    assert lookup.worth == lm.costs.token(0)


def test_a_head_is_timed_reading_its_target() -> None:
    lm = tiny_lm()
    head = HeadLM(Head(shape_for(lm, width=32, heads=2, kv_heads=1, ffn=48)), lm)
    assert lm.costs.draft(head.costs, 2) > 0


def test_costs_follow_the_machine_for_a_two_hundredth_of_the_time(clock: Timing) -> None:
    """What was measured is measured again when it is due, and not before; a model that drafts is measured with its target."""
    state = {"share": 0.05, "step": 0.004}
    target = pretend(clock, lambda tokens: 0.004 * (1 + state["share"] * (tokens - 1)))
    small = pretend(clock, lambda tokens: state["step"] * (1 + 0.1 * tokens))
    assert target.draft(small) == pytest.approx(1.1) and target.token() == pytest.approx(0.05)
    state["share"], state["step"] = 0.4, 0.001
    begun, measured = clock.now, 0.0
    for _ in range(100_000):
        clock.now += 0.005  # a round of decoding
        before = clock.now
        target.renew()
        measured += clock.now - before
    assert target.token() == pytest.approx(0.4) and target.draft(small) == pytest.approx(0.275)
    assert 0 < measured < 0.0055 * (clock.now - begun)


def test_a_slow_model_is_not_measured_again_and_a_draft_model_can_go(clock: Timing) -> None:
    slow, small = pretend(clock, line(0.1, base=1.0)), pretend(clock, line(0.1))
    slow.draft(small)
    clock.now += 1e9
    before = clock.now
    slow.renew()
    assert 0 < clock.now - before < 0.1  # the small one alone
    del small
    gc.collect()
    assert not slow._drafting


def test_what_one_process_has_measured_the_next_begins_with(clock: Timing, tmp_path: Path) -> None:
    file = tmp_path / "costs-1-x.json"
    first = pretend(clock, line(0.3), file)
    known, branching = first.extra(9), first.branching
    os.utime(file, (10, 10))
    begun, second = clock.now, pretend(clock, line(0.1), file)
    assert (second.extra(9), second.branching, clock.now) == (known, branching, begun)  # no forward
    clock.now += 60
    for _ in range(9):
        clock.now += 60
        second.renew()
    assert second.extra(9) == pytest.approx(0.9)  # the rounds tell more
    os.utime(file, (10, 10))
    assert pretend(clock, line(0.3), file).extra(9) == pytest.approx(0.9)


@pytest.mark.parametrize("content", ["", "[]", '{"seconds": 3}', '{"seconds": [[1, false, -1]]}', '{"seconds": [[1, false]]}',
                                     '{"seconds": [[1, false, "a"]]}', '{"seconds": [[4000000000, false, 1]]}', "old"])
def test_what_is_broken_foreign_or_old_is_measured_anew(clock: Timing, tmp_path: Path, content: str) -> None:
    file = tmp_path / "costs-1-x.json"
    assert pretend(clock, line(0.3), file).token() == pytest.approx(0.3)
    if content != "old":
        file.write_text(content)
    os.utime(file, (1, 1) if content == "old" else (10, 10))
    assert pretend(clock, line(0.1), file).token() == pytest.approx(0.1)
    os.utime(file, (10, 10))
    assert pretend(clock, line(0.3), file).token() == pytest.approx(0.1)  # and kept


def test_a_model_loaded_again_with_as_many_threads_knows_its_costs(unchecked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = paceline.load(tiny_model("llama")).costs.token()
    monkeypatch.setattr(Costs, "_measure", lambda *_, **__: pytest.fail("measured again"))
    assert paceline.load(tiny_model("llama")).costs.token() == known
    other = paceline.load(tiny_model("llama"))
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    assert not other.costs._seen
