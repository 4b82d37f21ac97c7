"""Suffix drafts: the row's own text, past outputs of its tenant only, learned chances and their price."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from paceline.core.request import Request
from paceline.core.sampling import Sampling
from paceline.drafters.suffix import Suffix
from paceline.engine import Engine
from paceline.errors import SpecError
from paceline.lm import LM


def row(tokens: list[int], id: int = 0, tenant: str = "", start: int = 0) -> Any:
    return SimpleNamespace(tokens=list(tokens), id=id, request=SimpleNamespace(tenant=tenant), finish_reason=None, last=None,
                           new_tokens=list(tokens[start:]), prompt_len=start)


def costs(token: float) -> Any:
    return SimpleNamespace(costs=SimpleNamespace(extra=lambda n, rows=1, length=0: token * n, branching=0.0))


def propose(drafter: Any, tokens: list[int], budget: int = 16, **more: Any) -> list[int]:
    return list(drafter.propose([row(tokens, **more)], [budget])[0].main_chain().tokens)


def test_the_row_s_own_text_is_continued() -> None:
    drafter = Suffix(length=3, worth=0.0).attach(None)
    assert propose(drafter, [1, 2, 3, 4, 9, 1, 2]) == [3, 4, 9]
    assert propose(drafter, [5, 6, 7], id=1) == []


def test_a_past_output_is_continued_for_its_tenant_only() -> None:
    drafter = Suffix(length=4, worth=0.0).attach(None)
    ended = row([1, 2, 10, 11, 12, 13], id=0, tenant="a", start=2)
    drafter.propose([ended], [4])
    ended.finish_reason = "eos"
    drafter.forget(ended)
    assert propose(drafter, [7, 10, 11], id=1, tenant="a") == [12, 13]
    assert propose(drafter, [7, 10, 11], id=2, tenant="b") == []
    assert propose(drafter, [1, 2], id=3, tenant="a") == []  # prompts are not kept


def test_what_was_cut_short_is_not_kept() -> None:
    drafter = Suffix(worth=0.0).attach(None)
    failed = row([1, 10, 11, 12])
    drafter.propose([failed], [4])
    drafter.forget(failed)
    assert propose(drafter, [10, 11], id=1) == []


def test_past_outputs_branch_by_how_often_they_went_on() -> None:
    drafter = Suffix(length=1, worth=0.0).attach(None)
    for last in (5, 5, 6):
        ended = row([3, 4, last])
        ended.finish_reason = "eos"
        drafter.forget(ended)
    proposal = drafter.propose([row([3, 4], id=9)], [8])[0]
    assert list(proposal.tokens) == [5, 6] and list(proposal.parents) == [-1, -1] and set(proposal.source) == {"past"}


def test_a_wrong_kind_of_match_stops_being_drafted_and_comes_back() -> None:
    """Chances are learned from matches that were not drafted, too."""
    drafter = Suffix(length=1, past=0).attach(costs(0.4))
    growing = row([1, 2, 1])
    offered = []
    for step in range(40):
        offered.append(len(drafter.propose([growing], [4])[0]))
        growing.tokens += [2 if step >= 20 else 3 + step, 1]
    assert offered[0] == 1 and sum(offered[12:20]) == 0 and sum(offered[30:]) >= 9


def test_tokens_as_dear_as_a_step_are_not_drafted() -> None:
    assert propose(Suffix().attach(costs(1.0)), [1, 2, 3, 1, 2]) == []


def test_bad_options_are_named() -> None:
    with pytest.raises(SpecError, match="length=0"):
        Suffix(length=0)


def test_the_second_of_two_equal_requests_takes_half_the_forwards(lm: LM) -> None:
    engine = Engine(lm, Suffix(worth=0.0), exact=False)
    request = Request(list(range(20, 40)), Sampling(temperature=1.0, seed=5), max_new_tokens=48)  # varied text
    first, again = (engine.run([request])[0] for _ in range(2))
    assert first.tokens == again.tokens and len(set(first.tokens)) > 20
    assert 2 * again.stats.rounds <= first.stats.rounds
