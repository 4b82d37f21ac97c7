"""The drafter with the most tokens for each second, at measured costs, and none where plain decoding has more: never slower.

A renewal-reward view: in the long run the fastest choice is that of most surplus, the tokens of a round less those that its
seconds give at the text's pace; an arm's tokens are taken at an upper bound. An arm is a drafter with a node budget; plain
decoding is always one, its tokens are known to be one, and what cannot be thought to beat it is not drafted. Seconds come from
prices that all arms share: a round costs what its nodes cost anyone, and its drafting (`_prices.py`). What a drafter needs to
catch up with a text that it has not seen (a model has to read the prompt) is charged to it, spread over the tokens that are left.

What is picked is an order for some rounds, and what came of them is learned together: between two forwards the same code takes
several times as long as in a loop, since they empty the processor's caches.

A round tells more than its arm's tokens: what other budgets of its drafter would have given (`Outcome.reach`), entered as if they
had been played. And where a drafter has said what it would propose now (`Order.asks`), it is judged by rounds with about as many
nodes, since one that looks far ahead is sure of itself; others beside it by what they gave in such a situation. After BanditSpec
(arXiv 2505.15141), whose rewards count tokens alone, those of the played arm, whatever it proposes, and start anew with every
text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paceline.controllers._arms import arms_of
from paceline.controllers._prices import START, Line, Mean, Prices
from paceline.controllers._tallies import Against, Past, Situation, Text, beside, offering, size_of
from paceline.core.arms import Arm, Ask, Offer, Order, Outcome, Valued, View
from paceline.errors import SpecError

__all__ = ["Cost"]

SHARED_FADE = 0.998  # weight that a round of any text loses with each later one
TRIES = 3.5  # rounds, the older the lighter, after which an arm counts as known
FIRST = 8  # plain rounds that the first of a new arm is feared to lose
EDGE = 0.02  # tokens by which an arm's surplus has to exceed plain decoding's: below, asking it is not worth the trouble
KEPT = 0.5  # share of the rounds left over which catching up has to pay, while it is not known for how many a drafter is kept
LATELY = 0.1  # weight of the last text in that
HOLD, PLAIN = 2, 8  # rounds for which an order stands, at least, and where nobody drafts unasked
LONG = 16  # and at most, where one order was like the last time and again
ASKED, ASKED_ALL = 0.1, 0.02  # weights of the last offer in what asking a drafter is worth, on a text and on all
HOPE = 0.5  # plain steps that asking is believed to be worth before the first offer
EVERY = 4  # rounds without a draft of which one is timed
EXPECTED = 32  # rounds for which what plain decoding is expected to take is believed unseen
SHORT = 12  # tokens left from which on nothing new is tried


@dataclass(frozen=True)
class Cost:
    """budgets: most nodes a round may have scored; arms are plain decoding and every drafter with every budget. caution: standard
    errors by which an arm's tokens may exceed their mean; 0 never looks again at what once looked poor. trust: rounds of other
    texts that count for a new one. fade: weight that a round of this text loses with each later one. venture: share of all
    seconds that trying new arms may have lost before the next is tried; the first drafter is tried at once. prior: what is known
    beforehand of every arm, in the order of arms: (tokens of a round, its seconds, seconds of catching up for each token), or
    None. forwards: seconds of the model's forwards by drafted nodes, for one row, as they are taken to be until rounds with about
    as many were seen; the engine gives what the model's costs were measured to be, so that a first text need not begin by
    measuring plain decoding. calibration: file of `paceline doctor --save` that the engine makes the prior from, where it holds
    for the model and the machine; nothing is read here. Raises SpecError for values out of range.
    """

    budgets: tuple[int, ...] = (16,)
    caution: float = 0.1
    trust: float = 8.0
    fade: float = 0.97
    venture: float = 0.05
    prior: tuple[tuple[float, float, float] | None, ...] = ()
    forwards: tuple[tuple[int, float], ...] = ()
    calibration: str | None = None

    def __post_init__(self) -> None:
        if not self.budgets or min(self.budgets) < 0:
            raise SpecError(f"cost needs budgets of 1 or more, as in cost:budgets=[4,16]; found {list(self.budgets)}.")
        if min(self.caution, self.trust, self.venture) < 0 or not 0 < self.fade <= 1:
            raise SpecError(f"cost needs caution, trust and venture >= 0 and 0 < fade <= 1; found caution={self.caution}, "
                            f"trust={self.trust}, venture={self.venture}, fade={self.fade}.")

    def attach(self, drafters: int) -> "Priced":
        """The controller at work, for so many drafters."""
        return Priced(self, drafters)


class Priced:
    """Picks the arm of the highest surplus for every row; knows the past only, so the text keeps its law."""

    def __init__(self, options: Cost, drafters: int) -> None:
        self.options, self.drafters, self.most = options, drafters, max(options.budgets)
        self.arms = arms_of(drafters, (0, *options.budgets))
        self.shared = [Past() for _ in self.arms]
        self.prices: list[Prices] = []  # by the power of two of the rows that are decoded together
        self.catching = [0.0] * drafters  # seconds of catching up for each token of the text
        self.stays = [math.inf] * drafters  # rounds of a text that a drafter drafts once it has caught up
        self.worth = [math.inf] * drafters  # seconds that asking a drafter before a pick is worth; at first that is not known
        self.written = self.steps = self.spent = 0.0  # tokens of all rounds, their seconds in plain rounds and as they are
        self.lost = 0.0  # seconds that new arms took beyond what the best known would have
        self._texts: dict[int, Text] = {}
        self._at(1)
        for nodes, seconds in options.forwards:
            self.here.settled.expect(nodes, seconds)
        for arm, known in enumerate(options.prior):
            if known is not None:
                self._believe(arm, *known)

    def pick(self, views: Sequence[View]) -> list[Order]:
        """An order for every row."""
        self._at(len(views))
        return [self._order(view) for view in views]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Enter what came of a round; one that a stop cut says less of its arm than it should, and an arm that could not draft
        was plain decoding.
        """
        nodes = sum([outcome.drafted for outcome in outcomes]) // max(1, len(outcomes))  # rows share the seconds of a forward
        for outcome in outcomes:
            arm, text = self._which(outcome.arm), self._text(outcome.row)
            if nodes or text.rounds % EVERY == 0 or not self.here.settled.seen(0):
                self.here.enter(nodes, outcome.seconds - outcome.draft_seconds, text.rounds)
            if arm:
                self._learn(arm, text, outcome)
            if outcome.offers:
                self._weigh_all(outcome.offers, text)
            self._count(outcome, text, nodes)

    def hear(self, row: int, drafter: int, tokens: int, nodes: int, seconds: float) -> None:
        """Enter what a drafter that was not at work would have given, had it been let score so many nodes (`shadow.py`): its
        tokens, and the seconds it took to say so, unless it had to catch up for that.
        """
        text = self._text(row)
        if drafter in text.begun:
            self.here.drafting[drafter].add(nodes, seconds)
        text.begun.add(drafter)
        for arm in self._of(drafter):
            if nodes <= self.arms[arm].budget:
                self._enter(arm, text, offering(nodes), tokens, nodes)
        if text.order.beside and not text.order.names(drafter) and self.here.line.knows(0):
            promise = self._promises(drafter, text)[min(nodes, self.most)][1] if nodes else -math.inf
            self._weigh(drafter, nodes, promise - text.order.beside[0][1], text)

    def forget(self, row: int) -> None:
        """Drop a row that has ended; what it taught of the arms stays."""
        text = self._texts.pop(row, None)
        for drafter, rounds in text.drafted.items() if text is not None else ():
            stays = self.stays[drafter]
            self.stays[drafter] = rounds if stays == math.inf else stays + LATELY * (rounds - stays)

    # -- what to pick ----------------------------------------------------------------------------------------------------

    def _order(self, view: View) -> Order:
        """What has to be tried; else the best of the arms whose drafters are not asked, or, where free drafters are worth asking,
        what promises more by what they say.
        """
        text = self._text(view.row, view.length)
        text.pace, new = self._pace(text), self._new(text, view)
        if new is not None:
            text.order = Order.of(self.arms[new])
            return text.order
        asked = [drafter for drafter in view.free if text.worth[drafter] > 0]
        others = self._beside(text, view, bool(asked))
        before, arm = text.order.beside[:1], others[0][0]
        alike = bool(before) and before[0][0] == arm
        rounds = max(HOLD if arm.budget else PLAIN, min(LONG, 2 * text.order.rounds) if alike else 0)
        text.order = Order(others, [Ask(drafter, self._promises(drafter, text)) for drafter in asked], rounds)
        return text.order

    def _new(self, text: Text, view: View) -> int | None:
        """The first arm that was not tried often enough and can be tried now: plain decoding first, since the others are measured
        by it, and again where only the slow beginning of a text has shown it, or nothing but what was expected, for long; the
        first drafter at once, others when their try, which may hold a good deal of catching up, is no more than may be lost. Free
        drafters need no try: they say what they would propose.
        """
        here = self.here
        late = EXPECTED if here.settled.knows(0) else START
        if not here.line.knows(0) or (view.left > SHORT and text.rounds >= late and not here.settled.seen(0)):
            return 0
        for arm in range(1, len(self.arms)) if view.left > SHORT else ():
            tried = self.shared[arm].all.rounds
            if self.arms[arm].drafter not in view.free and (tried < TRIES or self._drafting(arm) is None):
                risk = 0.0 if tried else FIRST * here.line.at(0)
                if (arm == 1 and not tried) or self.lost + risk <= self.options.venture * self.spent:
                    return arm
        return None

    def _beside(self, text: Text, view: View, asked: bool) -> list[Valued]:
        """The arm of the highest surplus, but for free drafters, which draft when they are asked or not at all; by the nodes that
        these propose at most. Plain decoding where none is worth leaving it for.

        The surplus are the tokens that a round may give beyond those that its seconds give at the text's pace; the best arm in
        the long run is the one that has most of it, not the one whose rounds have the best quotient, since a short round leaves
        its time to others. What slows all rounds alike does not matter. Plain decoding's is 1 less the pace.
        """
        sizes = range(self.most.bit_length() + 1) if asked else (-1,)
        lifts = [self._lift(size) for size in sizes]
        best: list[Valued] = [(self.arms[0], 1.0 - text.pace + EDGE)] * len(sizes)
        for arm in range(1, len(self.arms)):
            if self.arms[arm].drafter in view.free or not self._known(arm):
                continue
            past, (scale, more), (usual, nodes) = self.shared[arm], self._scale(arm, text), self._usual(arm)
            for i, (size, lift) in enumerate(zip(sizes, lifts, strict=True)):
                tokens, theirs = past.expects(beside(size), lift)
                most, seconds = tokens * scale + more, usual + self.here.line.at(theirs) - self.here.line.at(nodes)
                surplus = most - text.pace * (seconds + self._late(arm, most, text, view.left)) / self.here.line.at(0)
                if surplus > best[i][1]:
                    best[i] = self.arms[arm], surplus
        return [best[nodes.bit_length()] for nodes in range(self.most + 1)] if asked else best

    def _promises(self, drafter: int, text: Text) -> list[Valued]:
        """The surplus of a round that lets so many nodes be scored, which are drafted already, by their number; and its arm."""
        line, best = self.here.line, [(self.arms[0], -math.inf)] * (self.most + 1)
        costs = [text.pace * line.at(nodes) / line.at(0) for nodes in range(self.most + 1)]
        for arm in self._of(drafter):
            past, (scale, more), budget = self.shared[arm], self._scale(arm, text), self.arms[arm].budget
            sizes = [past.expects(offering(1 << size >> 1))[0] * scale + more for size in range(self.most.bit_length() + 1)]
            for nodes in range(self.most + 1):
                scored = min(nodes, budget)
                worth = min(scored + 1.0, sizes[scored.bit_length()]) - costs[scored]
                if worth > best[nodes][1]:
                    best[nodes] = self.arms[arm], worth
        return best

    def _scale(self, arm: int, text: Text) -> tuple[float, float]:
        """What the tokens of an arm's round are to be multiplied by, as this text compares with others, and the standard errors
        to be added.
        """
        past, ours, trust = self.shared[arm].all, text.arms[arm], self.options.trust
        usual = trust * past.mean
        expected = ours.expected + usual
        rounds = max(1.0, ours.rounds + min(trust, past.rounds))
        error = past.spread * math.sqrt(math.log(2.0 + text.rounds) / rounds)
        return (ours.tokens + usual) / expected if expected else 1.0, self.options.caution * error

    def _lift(self, size: int) -> float:
        """How much more than usual those gave that offered so much: where they are sure, others are believed to do as well."""
        found = [(past.apart.get(("offers", size)), past.all.mean) for past in self.shared] if size > 0 else ()
        return max([1.0, *(alike.mean / mean for alike, mean in found if alike is not None)])

    def _late(self, arm: int, most: float, text: Text, left: int) -> float:
        """Seconds of catching up for each of the rounds in which a drafter is kept to, of at most so many tokens."""
        drafter = self.arms[arm].drafter
        if drafter in text.begun:
            return 0.0
        return self.catching[drafter] * text.length / max(1.0, min(self.stays[drafter], KEPT * left / most))

    def _pace(self, text: Text) -> float:
        """Tokens in the time of a plain round at which this text is written, some of other texts' among them; 1 at least."""
        usual = self.options.trust / self.written if self.written else 0.0
        steps = text.steps + usual * self.steps
        return max(1.0, (text.tokens + usual * self.written) / steps) if steps else 1.0

    def _known(self, arm: int) -> bool:
        """Whether anything is known of a drafter's arm."""
        return self.shared[arm].all.rounds > 0.0 and self._drafting(arm) is not None

    def _best_rate(self) -> float:
        """Tokens for each second of the best arm among those that were tried often enough."""
        tried = [arm for arm in range(1, len(self.arms)) if self.shared[arm].all.rounds >= TRIES and self._known(arm)]
        return max([1.0 / self.here.line.at(0), *(self.shared[arm].all.mean / self._usual(arm)[0] for arm in tried)])

    def _usual(self, arm: int) -> tuple[float, float]:
        """Seconds of a drafter's round and its nodes: its own, or else the price of as many nodes and of drafting them."""
        past, drafting, whole = self.shared[arm].all, self._drafting(arm), self.here.whole[arm].seconds
        assert drafting is not None
        nodes = past.nodes / past.rounds
        return whole or self.here.line.at(nodes) + drafting.at(nodes), nodes

    # -- what was seen ---------------------------------------------------------------------------------------------------

    def _weigh_all(self, offers: Sequence[Offer], text: Text) -> None:
        """What was said, against what would have been picked without it."""
        order, most = text.order, max(offer.nodes for offer in offers)
        bar, promises = order.beside[min(most, len(order.beside) - 1)][1], {ask.drafter: ask.by for ask in order.asks}
        for offer in offers:
            self._weigh(offer.drafter, offer.nodes, promises[offer.drafter][offer.nodes][1] - bar if offer.nodes else 0.0, text)

    def _weigh(self, drafter: int, nodes: int, gain: float, text: Text) -> None:
        """Seconds that asking a drafter has saved, with so many nodes and this surplus over the next best, less its own."""
        line, plain = self.here.drafting[drafter], self.here.line.at(0)
        net, hope = max(0.0, gain) / text.pace * plain - (line.at(nodes) if line else 0.0), HOPE * plain
        for known, weight in ((text.worth, ASKED), (self.worth, ASKED_ALL)):
            before = hope if known[drafter] == math.inf else known[drafter]
            known[drafter] = before + weight * (net - before)

    def _learn(self, arm: int, text: Text, outcome: Outcome) -> None:
        """Enter what an arm's round gave and took; plain decoding's tokens are known."""
        if self.shared[arm].all.rounds < TRIES and self.here.line.knows(0):
            self.lost += outcome.seconds - outcome.tokens / self._best_rate()
        said = any(offer.drafter == self.arms[arm].drafter for offer in outcome.offers)
        self._time(arm, text, outcome, said)
        if not outcome.truncated:
            where = offering(outcome.drafted) if said else beside(size_of(outcome.offers))
            self._enter(arm, text, where, outcome.tokens, outcome.drafted)
            self._infer(arm, text, where, outcome)

    def _count(self, outcome: Outcome, text: Text, nodes: int) -> None:
        """Enter a round of any kind into the text's pace and that of all."""
        fade, steps = self.options.fade, outcome.seconds / self.here.line.at(0) if nodes and self.here.line.knows(0) else 1.0
        text.rounds, text.length = text.rounds + 1, text.length + outcome.tokens
        text.tokens, text.steps = text.tokens * fade + outcome.tokens, text.steps * fade + steps
        self.written, self.steps, self.spent = self.written + outcome.tokens, self.steps + steps, self.spent + outcome.seconds

    def _time(self, arm: int, text: Text, outcome: Outcome, said: bool) -> None:
        """Enter the seconds of drafting and of the whole. A drafter's first draft of a text holds its catching up, and once what
        is measured or made at first use: it tells of the price of a beginning only.
        """
        drafter, draft = self.arms[arm].drafter, outcome.draft_seconds
        text.drafted[drafter] = text.drafted.get(drafter, 0) + 1
        line = self.here.drafting[drafter]
        if drafter in text.begun:
            line.add(outcome.drafted, draft)
            if not said and not self._together:  # rows of one round may have several arms, and share its seconds
                self.here.enter_whole(arm, outcome.seconds, text.rounds)
        elif line:
            late = max(0.0, draft - line.at(outcome.drafted)) / max(1, text.length)
            self.catching[drafter] = 0.7 * self.catching[drafter] + 0.3 * late if self.catching[drafter] else late
        text.begun.add(drafter)

    def _infer(self, arm: int, text: Text, where: Situation, outcome: Outcome) -> None:
        """Enter what the drafter's other budgets would have given, as far as the round tells."""
        for which in self._of(self.arms[arm].drafter) if outcome.reach else ():
            budget = self.arms[which].budget
            if which != arm and budget <= outcome.reach:
                tokens, nodes = min(sum(outcome.accepted), budget) + 1, min(outcome.drafted, budget)
                self._enter(which, text, offering(nodes) if where[0] == "offers" else where, tokens, nodes)

    def _enter(self, arm: int, text: Text, where: Situation, tokens: int, nodes: int) -> None:
        """Tokens and nodes of a round, for this text and for all."""
        past, lift = self.shared[arm], self._lift(where[1]) if where[0] == "beside" else 1.0
        past.add(where, tokens, nodes, SHARED_FADE)
        text.arms[arm].add(tokens, past.expects(where, lift)[0], self.options.fade)

    def _believe(self, arm: int, tokens: float, seconds: float, catching: float) -> None:
        """Begin with what is known; without plain decoding's seconds the others' say nothing."""
        if arm == 0:
            self.here.settled.add(0, seconds)
        elif self.here.settled.knows(0):
            drafter, mean = self.arms[arm].drafter, self.here.whole[arm]
            mean.seconds, mean.weight = seconds, TRIES
            self.here.drafting[drafter].add(0, max(0.0, seconds - self.here.settled.at(0)))
            for _ in range(math.ceil(max(TRIES, self.options.trust))):
                self.shared[arm].add(beside(-1), tokens, 0, 1.0)
            self.catching[drafter] = catching

    def _of(self, drafter: int) -> range:
        """The arms of a drafter, plain decoding not among them."""
        each = (len(self.arms) - 1) // self.drafters
        return range(1 + drafter * each, 1 + (drafter + 1) * each)

    def _at(self, rows: int) -> None:
        """So many rows are decoded together from now on."""
        self._together = (max(1, rows) - 1).bit_length()
        while len(self.prices) <= self._together:
            self.prices.append(Prices([Line() for _ in range(self.drafters)], [Mean() for _ in self.arms]))
        self.here = self.prices[self._together]

    def _drafting(self, arm: int) -> Line | None:
        """Seconds of drafting with this arm's drafter, by nodes: for so many rows, or for the nearest number seen."""
        drafter, here = self.arms[arm].drafter, self._together
        if line := self.here.drafting[drafter]:
            return line
        known = (i for i, prices in enumerate(self.prices) if prices.drafting[drafter])
        nearest = min(known, key=lambda i: abs(i - here), default=None)
        return None if nearest is None else self.prices[nearest].drafting[drafter]

    def _which(self, played: Arm) -> int:
        """The place of the arm that the engine let play; where a text's end has clipped its budget, the least that holds it."""
        arms = self._of(played.drafter)
        return next((arm for arm in arms if self.arms[arm].budget >= played.budget), arms[-1]) if played.budget else 0

    def _text(self, row: int, length: int = 0) -> Text:
        if row not in self._texts:
            self._texts[row] = Text([Against() for _ in self.arms], list(self.worth), length)
        return self._texts[row]
