"""Token recycling: the table is what the target's last forwards named, per tenant; its ranks are learned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import paceline
from paceline.core.proposal import Proposal, Verdict
from paceline.core.request import Request
from paceline.core.row import Round
from paceline.drafters.recycle import Recycle
from paceline.engine import Engine
from paceline.errors import SpecError
from paceline.lm import LM


def row(tokens: list[int], seen: list[list[int]], proposal: Proposal | None = None, committed: int = 1, tenant: str = "") -> Any:
    last = Round(proposal or Proposal(), Verdict([], 0), committed, captured={"topk_logits": seen})
    return SimpleNamespace(tokens=tokens, id=0, last=last, request=SimpleNamespace(tenant=tenant))


def test_followers_of_every_scored_token_are_kept() -> None:
    drafter = Recycle(depth=2, nodes=20, worth=0.0).attach(None)
    drafted = Proposal.chain([5, 6], "x")
    tree = drafter.propose([row([4, 5, 9], [[5, 1], [9, 6], [2, 3]], drafted, committed=2)], [20])[0]
    assert len(tree) == 0  # 9 was never scored
    assert drafter.tables[""] == {4: [5, 1], 5: [9, 6], 6: [2, 3]}
    tree = drafter.propose([row([9, 5], [[5, 7]])], [20])[0]
    paths = {tuple(tree.tokens[i] for i in tree.path(n)) for n in range(len(tree))}
    assert {(9,), (6,), (9, 5), (6, 2)} <= paths and max(tree.depths()) == 2


def test_tenants_have_their_own_table() -> None:
    drafter = Recycle(worth=0.0).attach(None)
    drafter.propose([row([4, 5], [[5, 1]], tenant="a")], [8])
    assert len(drafter.propose([row([4], [], tenant="b")], [8])[0]) == 0


def test_ranks_that_are_right_are_drafted_deeper() -> None:
    drafter = Recycle(depth=6, nodes=6, worth=0.0).attach(None)
    drafter.tables[""] = {t: [(t + 1) % 8, 9] for t in range(8)}
    growing = row([0], [])
    for _ in range(30):
        growing.last = None
        proposal = drafter.propose([growing], [6])[0]
        growing.tokens = [*growing.tokens, *((growing.tokens[-1] + i) % 8 for i in (1, 2, 3))]
    assert max(proposal.depths()) >= 5  # at first: two or three


def test_bad_options_are_named() -> None:
    with pytest.raises(SpecError, match="depth=0"):
        Recycle(depth=0)


def test_the_engine_shows_it_the_likeliest_tokens(lm: LM) -> None:
    """Greedy text that comes round again is drafted from the table."""
    drafter = Recycle(worth=0.0).attach(lm)
    out = Engine(lm, drafter, exact=False).run([Request([5, 6, 7], max_new_tokens=60)])[0]
    assert out.tokens == paceline.generate(lm, [5, 6, 7], max_new_tokens=60)[0].tokens
    assert len(drafter.tables[""]) > 10 and all(len(f) == 8 for f in drafter.tables[""].values())
    assert out.stats.drafted > 0
