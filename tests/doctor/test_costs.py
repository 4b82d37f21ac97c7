"""The cost curve, the ledger of rounds, and what models hold."""

from __future__ import annotations

from typing import Any

import pytest

import paceline
from paceline.controllers.fixed import Fixed
from paceline.core.request import Request
from paceline.doctor.costs import Curve, Ledger, Noted, curve, key_bytes, weights_of
from paceline.drafters.small_model import SmallModel
from paceline.engine import Engine
from paceline.testing import tiny_lm, tiny_model
from tests.models.draft_head.test_head import ids
from tests.tiny import nearly

STRAIGHT = Curve({1: {1: 1.0, 2: 1.5, 4: 2.0}, 4: {1: 2.0, 2: 4.0}}, branching=0.25)


def test_between_sizes_the_curve_is_straight_and_goes_on_beyond_them() -> None:
    assert [STRAIGHT.at(1, n) for n in (1, 2, 3, 4, 6)] == [1.0, 1.5, 1.75, 2.0, 2.5]
    assert STRAIGHT.at(3, 1) == STRAIGHT.at(4, 1) == STRAIGHT.at(9, 1) == 2.0
    assert STRAIGHT.relative(4) == {1: 1.0, 2: 2.0}


def test_a_row_pays_its_share_and_a_tree_for_its_branches() -> None:
    from paceline.core.arms import Arm, Outcome

    chain, tree = (Outcome(0, Arm(0, 3), 3, accepted, 1, 0.0, 0.0, False) for accepted in ([False] * 3, [False] * 2))
    assert STRAIGHT.of(Noted(chain, 1, 3, 10)) == 2.0 and STRAIGHT.of(Noted(tree, 1, 3, 10)) == 2.25
    assert STRAIGHT.of(Noted(chain, 4, 1, 10)) == 1.0


def test_forwards_are_timed_for_every_size_and_number_of_rows() -> None:
    lm = tiny_lm()
    found = curve(lm, [ids(20), ids(40)], (3,), (1, 2, 8))
    assert set(found.seconds) == {1, 2, 3} and all(set(sizes) == {1, 2, 8} for sizes in found.seconds.values())
    assert found.prefix == 30 and min(s for sizes in found.seconds.values() for s in sizes.values()) > 0
    assert found.relative(1)[1] == 1.0


def test_a_short_context_leaves_out_what_does_not_fit() -> None:
    lm = tiny_lm(max_position_embeddings=24)
    found = curve(lm, [ids(20)], (1,))
    assert set(found.seconds[1]) <= {1, 2, 4, 8, 16} and 1 in found.seconds[1]


def test_the_ledger_holds_every_round_and_changes_nothing() -> None:
    lm = tiny_lm()
    plain = paceline.generate(lm, [ids(20), ids(30)], max_new_tokens=24, eos=())
    ledger = Ledger(Fixed(6))
    engine = Engine(lm, "ngram:worth=0,min_n=1", controller=ledger)
    out = engine.run([Request(ids(n), max_new_tokens=24) for n in (20, 30)])
    assert [g.tokens for g in out] == [g.tokens for g in plain]
    for row, generation in enumerate(out):
        mine = [n for n in ledger.rounds if n.outcome.row == row]
        assert sum(n.outcome.tokens for n in mine) == 24 and len(mine) == generation.stats.rounds
        assert mine[0].length == (20, 30)[row]
    assert all(n.largest >= n.outcome.drafted and n.rows in (1, 2) for n in ledger.rounds)


def test_a_budget_of_none_drafts_nothing() -> None:
    lm = tiny_lm()
    ledger = Ledger(Fixed(0))
    Engine(lm, "ngram", controller=ledger).run([Request(ids(20), max_new_tokens=8)])
    assert len(ledger.rounds) == 8 and not any(n.outcome.drafted for n in ledger.rounds)


def test_a_token_holds_so_many_bytes_of_keys() -> None:
    lm = tiny_lm()
    assert key_bytes(lm) == 2 * 3 * 2 * 16 * 4  # keys and values, layers, heads, width, bytes


@pytest.mark.parametrize(("make", "models"), [
    (lambda lm: "ngram", 0), (lambda lm: SmallModel(model=nearly(lm)), 1),
    (lambda lm: __import__("paceline.drafters.cape", fromlist=["Cape"]).Cape(inner=SmallModel(model=nearly(lm))), 1),
])  # fmt: skip
def test_a_drafters_own_weights_are_counted_wrapped_or_not(make: Any, models: int) -> None:
    lm = tiny_lm()
    [drafter] = Engine(lm, make(lm)).drafters
    size = sum(p.numel() * p.element_size() for p in tiny_model().parameters())
    assert weights_of(drafter, lm) == models * size
