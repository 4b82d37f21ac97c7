"""The cost controller against simulated arms: tokens and seconds of every arm are known, so is what it should do."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from paceline.controllers._prices import START
from paceline.controllers.cost import EXPECTED, TRIES, Cost
from paceline.core.arms import Arm, Ask, Offer, Order, Outcome, View
from paceline.errors import SpecError


@dataclass
class World:
    """Arms by drafter: mean tokens of a round and its seconds; plain decoding takes one second. catching: seconds for each token
    of a text when an arm meets it first.
    """

    tokens: list[float]
    seconds: list[float]
    catching: list[float]
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def played(self, arm: Arm, view: View, first: bool, slow: float = 1.0) -> Outcome:
        if arm.budget == 0:
            return Outcome(view.row, arm, 0, [], 1, 0.0, slow, False, slow)
        mean, late = self.tokens[arm.drafter], first * self.catching[arm.drafter] * view.length
        got = 1 + sum(self._random.random() < (mean - 1) / 8 for _ in range(8))
        draft = (self.seconds[arm.drafter] - 1) * slow + late
        return Outcome(view.row, arm, 8, [i < got - 1 for i in range(8)], got, draft, slow, False, slow + draft)


def pick(controller: Any, views: Sequence[View], *offers: Offer) -> list[Arm]:
    """The arms that its orders come to where this is said."""
    return [order.settle(offers)[0] for order in controller.pick(views)]


def decode(controller, world: World, tokens: int, row: int = 0, prompt: int = 100) -> tuple[list[Arm], float]:
    """Arms played and seconds spent until a text has so many tokens."""
    arms, spent, written, met = [], 0.0, 0, set()
    while written < tokens:
        view = View(row, prompt + written, tokens - written)
        [arm] = pick(controller, [view])
        got = world.played(arm, view, arm not in met)
        met.add(arm)
        controller.learn([got])
        arms.append(arm)
        spent, written = spent + got.seconds, written + got.tokens
    controller.forget(row)
    return arms, spent


@pytest.mark.parametrize(
    ("tokens", "seconds", "best"),
    [([3.0, 3.0], [1.2, 2.0], 0), ([2.0, 4.0], [1.1, 1.5], 1), ([2.5, 1.2], [1.1, 1.05], 0)],
)
def test_it_takes_the_most_tokens_a_second_not_a_round(tokens: list[float], seconds: list[float], best: int) -> None:
    controller = Cost().attach(2)
    arms, _ = decode(controller, World(tokens, seconds, [0.0, 0.0]), 1500)
    assert [a.drafter for a in arms[200:] if a.budget].count(best) > 0.85 * len(arms[200:])


@pytest.mark.parametrize("tokens", [[1.1, 1.2], [1.0, 1.0], [2.0, 2.0]])
def test_where_drafting_does_not_pay_it_is_hardly_tried(tokens: list[float]) -> None:
    controller, world = Cost().attach(2), World(tokens, [2.2, 3.0], [0.0, 0.0])
    first = decode(controller, world, 400)[1]
    later = sum(decode(controller, world, 100, row)[1] for row in range(1, 11))
    assert first < 400 * 1.05 + 3.0 and later < 1000 * 1.03  # a twentieth, and the try with which that is reached


def test_a_text_of_another_kind_is_noticed() -> None:
    controller = Cost().attach(2)
    code, prose = World([5.0, 2.0], [1.2, 1.2], [0.0, 0.0]), World([1.0, 2.5], [1.2, 1.2], [0.0, 0.0])
    for row in range(6):
        decode(controller, (code, prose)[row % 2], 200, row)
    _, spent = decode(controller, prose, 300, 10)
    assert spent < 1.15 * 300 / 2.5 * 1.2


def test_the_best_changes_within_a_text() -> None:
    controller, row = Cost().attach(2), 0
    worlds = World([4.0, 1.5], [1.2, 1.2], [0.0, 0.0]), World([1.0, 3.0], [1.2, 1.2], [0.0, 0.0])
    written, late = 0, []
    for half, world in enumerate(worlds):
        while written < 400 * (half + 1):
            view = View(row, 100 + written, 2000 - written)
            [arm] = pick(controller, [view])
            got = world.played(arm, view, False)
            controller.learn([got])
            written += got.tokens
            if written > 600:
                late.append(arm.drafter if arm.budget else -1)
    assert late.count(1) > 0.7 * len(late)


def test_what_a_new_arm_loses_is_measured_by_the_best_known_one() -> None:
    """The second drafter, no better than plain decoding, costs what the first would have written meanwhile."""
    controller, world = Cost().attach(2), World([9.0, 1.0], [1.2, 1.2], [0.0, 0.0])  # nine tokens a round, and one, for certain
    arms, _ = decode(controller, world, 400)
    tries = math.ceil(TRIES)
    assert arms.count(Arm(1, 16)) == tries
    by_plain, by_first = tries * (1.2 - 9 / 1.0), tries * (1.2 - 1 / (9 / 1.2))
    assert controller.lost == pytest.approx(by_plain + by_first)


def test_catching_up_is_charged_to_the_arm_over_what_is_left() -> None:
    """A drafter that has to read a long prompt is not worth it for a short answer."""
    controller, world = Cost().attach(1), World([3.0], [1.2], [0.1])
    for row in range(4):
        decode(controller, world, 300, row, prompt=50)
    short, _ = decode(controller, world, 40, 10, prompt=1000)
    long, _ = decode(controller, world, 1500, 11, prompt=1000)
    assert not any(arm.budget for arm in short)
    assert sum(bool(arm.budget) for arm in long) > 0.9 * len(long)


def test_catching_up_has_to_pay_in_the_rounds_that_a_drafter_stays() -> None:
    """One that is left after three rounds is not begun with for their sake where catching up takes as long as three."""
    picked = []
    for stays in (3.0, 100.0):
        controller = taught(model=4.0)
        controller.catching[1], controller.stays[1] = 0.03, stays
        picked += pick(controller, [View(9, 100, 1000, (0,))], Offer(0, 0))
    assert picked == [Arm(0, 0), Arm(1, 16)]
    controller = taught()  # one text, in which the second drafter had a quarter of the rounds
    assert controller.stays[1] == (200 + START) / 4


def test_one_slow_round_says_little() -> None:
    controller, world = Cost().attach(1), World([3.0], [1.2], [0.0])
    decode(controller, world, 100)
    view = View(5, 100, 500)
    for _ in range(3):
        [arm] = pick(controller, [view])
        controller.learn([world.played(arm, view, False, slow=200.0 if arm.budget else 1.0)])
        [arm] = pick(controller, [view])
        assert arm.budget, "the drafter was given up for a hiccup"
        controller.learn([world.played(arm, view, False)])


def test_costs_depend_on_how_many_rows_are_decoded_together() -> None:
    """Alone drafting pays; with eight rows it costs more than it brings."""
    controller = Cost().attach(1)
    alone, together = World([3.0], [1.2], [0.0]), World([3.0], [4.0], [0.0])
    decode(controller, alone, 200)
    for _ in range(60):
        views = [View(row, 100, 1000) for row in range(1, 9)]
        arms = pick(controller, views)
        controller.learn([together.played(arm, view, False) for arm, view in zip(arms, views, strict=True)])
    assert not any(arm.budget for arm in arms)
    arms, _ = decode(controller, alone, 200, 20)
    assert sum(bool(arm.budget) for arm in arms) > 0.8 * len(arms)


def test_what_is_known_beforehand_is_not_tried_again() -> None:
    world = World([3.0, 1.0], [1.2, 5.0], [0.0, 0.0])
    controller = Cost(prior=((1.0, 1.0, 0.0), (3.0, 1.2, 0.0), (1.0, 5.0, 0.0))).attach(2)
    arms, _ = decode(controller, world, 100)
    assert all(arm == Arm(0, 16) for arm in arms)


@pytest.mark.parametrize(("tokens", "drafted"), [(1.0, False), (1.01, False), (1.05, True)])
def test_what_is_hardly_faster_than_plain_decoding_is_left(tokens: float, drafted: bool) -> None:
    controller = Cost(caution=0.0, prior=((1.0, 1.0, 0.0), (tokens, 1.0, 0.0))).attach(1)
    assert bool(pick(controller, [View(0, 10, 100)])[0].budget) is drafted


def test_rounds_that_a_stop_cut_teach_no_tokens_and_rows_are_forgotten() -> None:
    controller, world = Cost().attach(1), World([3.0], [1.2], [0.0])
    decode(controller, world, 50, 7)
    before = known(controller, Arm(0, 16))[0].all.rounds
    given(controller, Arm(0, 16), 8, 2, truncated=True)
    assert known(controller, Arm(0, 16))[0].all.rounds == before > 0
    given(controller, Arm(0, 16), 8, 2)
    assert known(controller, Arm(0, 16))[0].all.rounds > before
    controller.forget(0)
    assert not controller._texts


def test_an_arm_that_could_not_draft_was_plain_decoding() -> None:
    """At the last token of a text, or for a drafter that has failed too often, the engine has nothing drafted."""
    controller, world = Cost().attach(1), World([3.0], [1.2], [0.0])
    decode(controller, world, 200, 7)
    drafter, drafting = known(controller, Arm(0, 16))[0].all, controller.here.drafting[0]
    before = drafter.rounds, drafting.at(0), controller.here.whole[1].seconds
    for row in range(20):
        controller.pick([View(row, 100, 1)])
        controller.learn([Outcome(row, Arm(0, 0), 0, [], 1, 0.0, 1.0, False, 1.0)])
    assert (drafter.rounds, drafting.at(0), controller.here.whole[1].seconds) == before


def test_nothing_of_other_texts_may_be_trusted() -> None:
    controller, world = Cost(trust=0).attach(2), World([3.0, 1.2], [1.2, 1.2], [0.0, 0.0])
    for row in range(3):
        arms, _ = decode(controller, world, 200, row)
    assert [arm.drafter for arm in arms if arm.budget].count(0) > 0.7 * len(arms)


def test_rows_that_are_left_alone_are_drafted_for_as_before() -> None:
    """Eight rows take as long as one; that each of them had an eighth of a round does not make a lone one's round look slow."""
    controller, world = Cost().attach(1), World([3.0], [1.7], [0.0])
    for rows in (8, 1):
        for turn in range(60):
            views = [View(row, 100, 1000) for row in range(rows)]
            outcomes = [world.played(arm, view, turn == 0) for arm, view in zip(pick(controller, views), views, strict=True)]
            controller.learn([replace(o, draft_seconds=o.draft_seconds / rows, seconds=o.seconds / rows) for o in outcomes])
            if rows == 1 and turn >= 8:
                assert outcomes[0].arm.budget


def test_rows_with_drafts_and_without_share_a_round_and_do_not_hide_its_price() -> None:
    """Four rows with sixteen nodes, four with none: each has an eighth of the seconds, and none of them eight nodes' price."""
    controller = Cost().attach(1)
    for turn in range(60):
        views = [View(row, 100, 1000) for row in range(8)]
        pick(controller, views)
        nodes = [16 * (row < 4) if turn % 2 else 0 for row in range(8)]
        seconds = (1 + 0.1 * sum(nodes)) / 8
        controller.learn([Outcome(row, Arm(0, 16 if n else 0), n, [True] * n, n + 1, 0.0, seconds, False, seconds)
                          for row, n in enumerate(nodes)])
    assert controller.here.line.at(0) == pytest.approx(1 / 8) and controller.here.line.at(8) == pytest.approx(7.4 / 8)


def test_nothing_new_is_tried_at_the_end_of_a_text() -> None:
    controller = Cost().attach(3)
    [first] = pick(controller, [View(0, 100, 5)])
    controller.learn([Outcome(0, first, 0, [], 1, 0.0, 1.0, False, 1.0)])
    assert pick(controller, [View(0, 101, 4)]) == [Arm(0, 0)]


@pytest.mark.parametrize("bad", [{"budgets": ()}, {"budgets": (-1,)}, {"caution": -1.0}, {"trust": -1.0}, {"fade": 0.0}])
def test_options_out_of_range_are_refused(bad: dict) -> None:
    with pytest.raises(SpecError, match="cost needs"):
        Cost(**bad)


def test_a_guess_of_more_nodes_than_an_arm_may_score_says_nothing_of_it() -> None:
    controller = Cost(budgets=(4, 16)).attach(1)
    controller.hear(0, 0, tokens=6, nodes=8, seconds=0.0)
    heard = {arm.budget: past.all.rounds for arm, past in zip(controller.arms, controller.shared, strict=True)}
    assert heard == {0: 0.0, 4: 0.0, 16: 1.0}


def given(controller: Any, arm: Arm, drafted: int, accepted: int, reach: int = 0, **more: Any) -> None:
    """A round of this arm, whatever the controller would have picked."""
    pick(controller, [View(0, 100, 1000)])
    flags = [i < accepted for i in range(drafted)]
    more = {"draft_seconds": 0.2, "verify_seconds": 1.0, "truncated": False, "seconds": 1.5} | more
    controller.learn([Outcome(0, arm, drafted, flags, accepted + 1, reach=reach, **more)])


def known(controller: Any, arm: Arm) -> list[Any]:
    """What is known of an arm's tokens, on all texts and on this one."""
    which = controller.arms.index(arm)
    return [controller.shared[which], controller._text(0).arms[which]]


ROUNDS = [(16, 9), (16, 0), (7, 7), (16, 16), (3, 3), (0, 0), (5, 2)]  # nodes of chains, and how many were accepted


def test_a_long_chain_tells_what_a_shorter_one_would_have_given() -> None:
    """The small arm is known as if it had been played, the drafter beside it as little as before."""
    inferred, played = (Cost(budgets=(4, 16)).attach(2) for _ in range(2))
    for drafted, accepted in ROUNDS:
        given(inferred, Arm(0, 16), drafted, accepted, reach=16)
        given(played, Arm(0, 4), min(drafted, 4), min(accepted, 4), reach=4)
    assert known(inferred, Arm(0, 4)) == known(played, Arm(0, 4)) and known(played, Arm(0, 4))[0].all.rounds > 6
    assert not any(controller.shared[controller.arms.index(arm)].all.rounds for controller in (inferred, played)
                   for arm in (Arm(1, 4), Arm(1, 16), Arm(0, 0)))
    assert not known(played, Arm(0, 16))[0].all.rounds


def test_a_chain_that_ended_before_its_budget_tells_of_larger_ones() -> None:
    controller = Cost(budgets=(4, 16)).attach(1)
    given(controller, Arm(0, 4), 3, 1, reach=sys.maxsize)
    assert known(controller, Arm(0, 16)) == known(controller, Arm(0, 4)) and known(controller, Arm(0, 16))[0].all.tokens == 2


def test_nothing_is_inferred_from_trees_cut_rounds_and_what_the_engine_did_not_draft() -> None:
    controller = Cost(budgets=(4, 16)).attach(1)
    given(controller, Arm(0, 16), 16, 9)
    given(controller, Arm(0, 16), 16, 9, reach=16, truncated=True)
    assert not known(controller, Arm(0, 4))[0].all.rounds


def test_drafters_catch_up_once_for_all_their_budgets() -> None:
    controller = Cost(budgets=(4, 16)).attach(2)
    given(controller, Arm(0, 16), 16, 8)
    assert controller._text(0).begun == {0}


# -- offers ----------------------------------------------------------------------------------------------------------------


ASKING = Order([(Arm(0, 0), 0.0)] * 17, [Ask(0, [(Arm(0, 16), 0.0)] * 17)])  # the first drafter is asked


def taught(sure: float = 15.0, unsure: float = 1.5, model: float = 3.0) -> Any:
    """A controller that has seen: a plain round takes 1, a node 0.1 more; the first drafter, which makes offers, gives `sure`
    tokens where it proposes 16 nodes and `unsure` where it proposes 2; the second, which drafts 4 nodes in 0.3, gives `model`.
    """
    controller = Cost(budgets=(16,), caution=0.0).attach(2)
    turn = [(Arm(0, 0), 0, 1, ()), (Arm(0, 16), 16, sure, (Offer(0, 16),)), (Arm(0, 16), 2, unsure, (Offer(0, 2),)),
            (Arm(1, 16), 4, model, (Offer(0, 2),))]
    for i in range(200 + START):
        arm, nodes, tokens, offers = turn[i % 4]
        pick(controller, [View(0, 100 + i, 1000)])
        controller._text(0).order = ASKING
        draft = 0.3 if arm.drafter else 0.0
        controller.learn([Outcome(0, arm, nodes, [True] * nodes, tokens, draft, 1.0, False, 1 + 0.1 * nodes + draft, 0, offers)])
    controller.forget(0)
    return controller


def test_what_a_drafter_offers_now_counts_not_its_mean() -> None:
    """Sixteen nodes are taken, two are left to the model, and none at all, too; without offers the means decide."""
    controller = taught(model=4.0)
    picked = [pick(controller, [View(row, 100, 1000, (0,))], Offer(0, nodes))[0] for row, nodes in enumerate((16, 2, 0))]
    assert picked == [Arm(0, 16), Arm(1, 16), Arm(1, 16)]


@pytest.mark.parametrize(("pace", "drafted"), [(1.2, True), (8.0, False)])
def test_a_short_round_is_kept_to_where_long_ones_are_usual(pace: float, drafted: bool) -> None:
    """Three tokens for 1.7 seconds are a better quotient than one for 1, but not where those seconds usually give 13."""
    controller = taught()
    controller.written, controller.steps = 1000.0 * pace, 1000.0
    assert pick(controller, [View(9, 100, 1000, (0,))], Offer(0, 0)) == [Arm(1, 16) if drafted else Arm(0, 0)]


def test_a_drafter_is_asked_while_its_offers_save_more_than_asking_takes() -> None:
    """Questions that take a tenth of a round: worth it where long offers come, not where none ever does."""
    found = []
    for nodes in (16, 0):
        controller = taught()
        for _ in range(5):
            controller.here.drafting[0].add(nodes, 0.1)
        for length in range(40):
            [order] = controller.pick([View(5, 100 + length, 1000, (0,))])
            offers = (Offer(0, nodes),) if order.asks else ()
            arm, _ = order.settle(offers)
            got = (15, 16) if arm == Arm(0, 16) else (3, 4) if arm.budget else (1, 0)
            controller.learn([Outcome(5, arm, got[1], [True] * got[1], got[0], 0.1, 1.0, False, 1.1 + 0.1 * got[1], 0, offers)])
            if offers and not nodes:
                controller.hear(5, 0, 1, 0, 0.1)  # as the engine does where nothing was taken
        found.append(bool(order.asks))
    assert found == [True, False]


def test_the_slow_rounds_after_a_prompt_are_not_taken_for_the_price_of_plain_decoding() -> None:
    """Where the first rounds of a text take twice as long, plain decoding is tried again behind them."""
    controller, view = Cost().attach(1), View(0, 100, 1000)
    plain = []
    for round_ in range(40):
        [arm] = pick(controller, [view])
        slow = 1.0 if round_ < START else 0.0
        tokens, nodes = (1.5, 4) if arm.budget else (1, 0)
        controller.learn([Outcome(0, arm, nodes, [True] * nodes, tokens, 0.3 * bool(nodes), 1.0 + slow, False,
                                  1.0 + slow + (0.8 if nodes else 0.0))])
        plain.append(arm.budget == 0)
    assert controller.here.line.at(0) == 1.0 and all(plain[START + 8 :])


# -- what forwards are expected to take ------------------------------------------------------------------------------------

EXPECTS = Cost(caution=0.0, forwards=((0, 1.0), (1, 1.1), (3, 1.3), (7, 1.7), (15, 2.5)))


def test_where_forwards_have_their_price_a_text_begins_with_drafting() -> None:
    """No plain round first, and what a free drafter proposes is taken at its word until it has shown what that is worth."""
    [order] = EXPECTS.attach(1).pick([View(0, 100, 1000, (0,))])
    arms = [order.settle([Offer(0, nodes)])[0] for nodes in (0, 4, 16)]
    assert [ask.drafter for ask in order.asks] == [0] and arms == [Arm(0, 0), Arm(0, 16), Arm(0, 16)]
    assert pick(EXPECTS.attach(1), [View(0, 100, 1000)]) == [Arm(0, 16)]  # another drafter is tried at once


def test_what_is_wrong_is_not_proposed_for_long() -> None:
    controller, drafted = EXPECTS.attach(1), 0
    for length in range(200):
        [order] = controller.pick([View(0, 100 + length, 1000, (0,))])
        offers = (Offer(0, 4),) if order.asks else ()
        arm, _ = order.settle(offers)
        nodes = 4 if arm.budget else 0
        drafted += bool(nodes)
        controller.learn([Outcome(0, arm, nodes, [False] * nodes, 1, 0.1, 1.0, False, 1.1 + 0.1 * nodes, 0, offers)])
    assert drafted <= 4


def test_a_price_that_was_only_expected_is_measured_after_a_while() -> None:
    """Where drafting has always paid, plain decoding is tried once behind `EXPECTED` rounds, and is what it then took."""
    controller, plain = EXPECTS.attach(1), []
    for index in range(2 * EXPECTED):
        [arm] = pick(controller, [View(0, 100 + index, 1000)])
        nodes, tokens, took = (4, 4, 1.3) if arm.budget else (0, 1, 0.9)
        controller.learn([Outcome(0, arm, nodes, [True] * nodes, tokens, 0.1 * bool(nodes), 1.0, False, took, 0)])
        plain += [index] * (not nodes)
    assert plain == [EXPECTED] and controller.here.line.at(0) == 0.9
