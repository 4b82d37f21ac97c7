"""A drafter that raises or proposes nonsense costs its draft, never the request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from paceline import Engine, Request, RequestError
from paceline.core.guidance import Guidance
from paceline.core.proposal import Proposal
from paceline.testing import ToyLM

TOY = ToyLM(5, seed=4)
REQUESTS = [Request([1, 2], max_new_tokens=12), Request([3, 0], max_new_tokens=12)]


class Broken:
    """Proposes what `make` makes; counts its calls and what it was told to forget."""

    captures, has_model, timed = (), False, True

    def __init__(self, make: Callable[[list], list], victim: int | None = None) -> None:
        self.make, self.victim, self.calls, self.forgotten = make, victim, 0, []

    def propose(self, rows: Sequence, budgets: Sequence[int]) -> list[Proposal]:
        self.calls += 1
        if self.victim is not None and all(row.id != self.victim for row in rows):
            return [Proposal.chain([0], "broken") for _ in rows]
        return self.make(list(rows))

    def forget(self, row) -> None:
        self.forgotten.append(row.id)


def raises(rows: list) -> list:
    raise RuntimeError("no draft today")


def every(proposal: object) -> Callable[[list], list]:
    return lambda rows: [proposal] * len(rows)


LAW = torch.full((5,), 0.2)
NONSENSE = {
    "raises": raises,
    "too few": lambda rows: [],
    "nothing": every(None),
    "wrong parents": every(Proposal([1, 2], [1, -1], [False] * 2, ["x"] * 2)),
    "id out of range": every(Proposal.chain([5], "x")),
    "negative id": every(Proposal.chain([-3], "x")),
    "wrong law": every(Proposal.chain([1], "x", drawn=True, distributions=[LAW[:4]])),
    "no law": every(Proposal.chain([1], "x", drawn=True)),
    "lengths": every(Proposal([1, 2], [-1], [False], ["x"])),
    "a token that is no number": every(Proposal.chain(["a"], "x")),
    "a token that is no whole number": every(Proposal.chain([1.5], "x")),
    "a law that is not finite": every(Proposal.chain([1], "x", drawn=True, distributions=[LAW * torch.nan])),
    "a negative law": every(Proposal.chain([1], "x", drawn=True, distributions=[LAW - 0.5])),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_requests_finish_with_plain_text_and_it_is_said_once(kind: str, caplog) -> None:
    plain = Engine(TOY).run(REQUESTS)
    drafter = Broken(NONSENSE[kind])
    out = Engine(TOY, drafter).run(REQUESTS)
    assert [g.tokens for g in out] == [g.tokens for g in plain]
    assert len([r for r in caplog.records if "Broken" in r.message]) == 1
    assert all(len(g.stats.failures) == 3 and g.stats.drafted == 0 for g in out)
    assert drafter.calls == 3 * (1 + len(REQUESTS))  # together, then singly, for three rounds; then never again
    assert set(drafter.forgotten) == {0, 1}


def test_other_rows_go_on_drafting() -> None:
    plain = Engine(TOY).run(REQUESTS)
    engine = Engine(TOY, Broken(raises, victim=1))
    out = engine.run(REQUESTS)
    assert [g.tokens for g in out] == [g.tokens for g in plain]
    assert out[0].stats.drafted >= out[0].stats.rounds - 1 > 0 and not out[0].stats.failures
    assert out[1].stats.drafted == 0 and len(out[1].stats.failures) == 3


def test_a_budget_is_never_exceeded() -> None:
    class Greedy(Broken):
        def propose(self, rows, budgets):
            assert all(b > 0 for b in budgets)
            return [Proposal.chain([0] * 50, "x") for _ in rows]

    engine = Engine(TOY, Greedy(raises), controller="fixed:budget=3")
    row = engine.submit(REQUESTS[0])
    while row.finish_reason is None:
        engine.step()
        assert len(row.last.proposal) <= 3
    assert row.stats.drafted > 0 and not row.stats.failures


def test_a_drafter_that_cannot_forget_is_only_logged(caplog) -> None:
    class Clinging(Broken):
        def forget(self, row) -> None:
            raise RuntimeError("mine")

    out = Engine(TOY, Clinging(every(Proposal.chain([0], "x")))).run(REQUESTS)
    assert [g.tokens for g in out] == [g.tokens for g in Engine(TOY).run(REQUESTS)]
    assert "could not forget" in caplog.text


def test_keyboard_interrupts_pass_and_free_the_slots() -> None:
    def interrupt(rows: list) -> list:
        raise KeyboardInterrupt

    engine = Engine(TOY, Broken(interrupt))
    with pytest.raises(KeyboardInterrupt):
        engine.run(REQUESTS)
    assert not engine.rows and not engine.kv.active


def test_a_budget_of_zero_never_asks() -> None:
    drafter = Broken(raises)
    out = Engine(TOY, drafter, controller="fixed:budget=0").run(REQUESTS)
    assert drafter.calls == 0 and all(g.stats.acceptance_length == 1.0 for g in out)


@pytest.mark.parametrize("guidance", [None, Guidance(2.0, [4])], ids=["", "guided"])
def test_an_interrupted_prompt_gives_its_slots_back(guidance: Guidance | None, monkeypatch) -> None:
    engine = Engine(TOY)
    other = engine.submit(Request([1, 2], max_new_tokens=12))
    engine.step()
    with monkeypatch.context() as patch:
        patch.setattr(TOY, "prefill", interrupted)
        for _ in range(3):
            row = engine.submit(Request([3, 0, 1], max_new_tokens=12, guidance=guidance))
            with pytest.raises(KeyboardInterrupt):
                engine.step()
            assert row.finish_reason == "cancelled" and len(engine.kv.active) == 1 and not engine.waiting
    while other.finish_reason is None:
        engine.step()
    assert other.new_tokens == Engine(TOY).run([Request([1, 2], max_new_tokens=12)])[0].tokens


def interrupted(*given, **named):
    raise KeyboardInterrupt


def test_a_round_that_is_interrupted_is_made_again(monkeypatch) -> None:
    """Between the cache's commit and the rows' the two must not stay apart."""
    wanted, engine = Engine(TOY).run(REQUESTS), Engine(TOY)
    rows = [engine.submit(request) for request in REQUESTS]
    engine.step()
    with monkeypatch.context() as patch:
        patch.setattr("paceline.engine.engine.commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    while any(row.finish_reason is None for row in rows):
        engine.step()
    assert [row.new_tokens for row in rows] == [g.tokens for g in wanted]


@pytest.mark.parametrize("numbers", [{"slots": 0}, {"slots": -1}, {"max_cached": -1}])
def test_an_engine_needs_slots(numbers: dict) -> None:
    with pytest.raises(RequestError, match="must be a whole number of at least"):
        Engine(TOY, **numbers)
