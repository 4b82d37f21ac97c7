"""The drafter with the most tokens for each second, at measured costs, and none where plain decoding has more: never slower.

A renewal-reward view: in the long run the fastest choice is that of most surplus, the tokens of a round less those that its
seconds give at the text's pace; an arm's tokens are taken at an upper bound. An arm is a drafter with a node budget; plain
decoding is always one, its tokens are known to be one, and what cannot be thought to beat it is not drafted. Seconds come from
prices that all arms share: a round costs what its nodes cost anyone, and its drafting (`_prices.py`). What a drafter needs to
catch up with a text that it has not seen (a model has to read the prompt) is charged to it, spread over the tokens that are left.

A round tells more than its arm's tokens: what other budgets of its drafter would have given (`Outcome.reach`), entered as if they
had been played. And where a drafter has said what it would propose now (`View.offers`), it is judged by rounds with about as many
nodes, since one that looks far ahead is sure of itself; others beside it by what they gave in such a situation. After BanditSpec
(arXiv 2505.15141), whose rewards count tokens alone, those of the played arm, whatever it proposes, and start anew with every
text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paceline.arm import Arm, Offer, Outcome, View
from paceline.controllers._arms import arms_of
from paceline.controllers._prices import START, Line, Mean, Prices
from paceline.controllers._tallies import Against, Past, Situation, Text, beside, offering
from paceline.errors import SpecError

__all__ = ["Cost"]

SHARED_FADE = 0.998  # weight that a round of any text loses with each later one
TRIES = 3.5  # rounds, the older the lighter, after which an arm counts as known
FIRST = 8  # plain rounds that the first of a new arm is feared to lose
EDGE = 0.02  # tokens by which an arm's surplus has to exceed plain decoding's: below, asking it is not worth the trouble
KEPT = 0.5  # share of the rounds left over which catching up has to pay, while it is not known for how many a drafter is kept
LATELY = 0.1  # weight of the last text in that
HOLD = (8, 2)  # rounds for which plain decoding, and an arm, is kept to without a further look, while the same drafters offer
ASKED, ASKED_ALL = 0.1, 0.02  # weights of the last offer in what asking a drafter is worth, on a text and on all
HOPE = 0.5  # plain steps that asking is believed to be worth before the first offer
EVERY = 4  # rounds without a draft of which one is timed
SHORT = 12  # tokens left from which on nothing new is tried


@dataclass(frozen=True)
class Cost:
    """budgets: most nodes a round may have scored; arms are plain decoding and every drafter with every budget. caution: standard
    errors by which an arm's tokens may exceed their mean; 0 never looks again at what once looked poor. trust: rounds of other
    texts that count for a new one. fade: weight that a round of this text loses with each later one. venture: share of all
    seconds that trying new arms may have lost before the next is tried; the first drafter is tried at once. prior: what is known
    beforehand of every arm, in the order of arms: (tokens of a round, its seconds, seconds of catching up for each token), or
    None. calibration: file of `paceline doctor --save` that the engine makes the prior from, where it holds for the model and the
    machine; nothing is read here. Raises SpecError for values out of range.
    """

    budgets: tuple[int, ...] = (16,)
    caution: float = 0.1
    trust: float = 8.0
    fade: float = 0.97
    venture: float = 0.05
    prior: tuple[tuple[float, float, float] | None, ...] = ()
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

    timed = True

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
        self._asked: dict[int, tuple[int, View]] = {}
        self._at(1)
        for arm, known in enumerate(options.prior):
            if known is not None:
                self._believe(arm, *known)

    def pick(self, views: Sequence[View]) -> list[Arm]:
        """An arm for every row."""
        self._at(len(views))
        out = []
        for view in views:
            arm = self._best(view)
            self._asked[view.row] = arm, view
            out.append(self.arms[arm])
        return out

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Enter what came of a round; one that a stop cut says less of its arm than it should, and an arm that could not draft
        was plain decoding.
        """
        nodes = sum([outcome.drafted for outcome in outcomes]) // max(1, len(outcomes))  # rows share the seconds of a forward
        for outcome in outcomes:
            picked, view = self._asked.pop(outcome.row)
            arm, text = picked if outcome.arm.budget else 0, self._text(outcome.row)
            if nodes or text.rounds % EVERY == 0:
                self.here.enter(nodes, outcome.seconds - outcome.draft_seconds, text.rounds)
            if arm:
                self._learn(arm, text, view, outcome)
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

    def wants(self, row: int, drafter: int) -> bool:
        """Whether this drafter is to be asked before the next pick: it was picked without that, or asking it has lately been
        worth its time on this text.
        """
        text = self._text(row)
        return text.worth[drafter] > 0 or (text.arm > 0 and self.arms[text.arm].drafter == drafter)

    def forget(self, row: int) -> None:
        """Drop a row that has ended; what it taught of the arms stays."""
        text = self._texts.pop(row, None)
        for drafter, rounds in text.drafted.items() if text is not None else ():
            stays = self.stays[drafter]
            self.stays[drafter] = rounds if stays == math.inf else stays + LATELY * (rounds - stays)
        self._asked.pop(row, None)

    # -- what to pick ----------------------------------------------------------------------------------------------------

    def _best(self, view: View) -> int:
        """What has to be tried; else the best of the arms whose drafters have said nothing yet, which is looked for every other
        round or so only, or what promises more among those that have.
        """
        text, among = self._text(view.row), (self._together, *[offer.drafter for offer in view.offers])
        if text.rounds >= text.until or among != text.among:
            if (new := self._new(text, view.left)) is not None:
                return new
            text.among, text.pace = among, self._pace(text)
            text.arm, text.surplus = self._highest(text, view)
            text.until = text.rounds + HOLD[text.arm > 0]
        best, most = text.arm, text.surplus
        for offer in view.offers:
            gain = 0.0
            for arm in self._of(offer.drafter) if offer.nodes else ():
                surplus = self.promise(arm, min(offer.nodes, self.arms[arm].budget), text)
                gain = max(gain, surplus - text.surplus)
                if surplus > most:
                    best, most = arm, surplus
            self._weigh(offer, gain, text)
        return best

    def _new(self, text: Text, left: int) -> int | None:
        """The first arm that was not tried often enough and can be tried now: plain decoding first, since the others are measured
        by it, and again where only the slow beginning of a text has shown it; the first drafter at once, others when their try,
        which may hold a good deal of catching up, is no more than may be lost.
        """
        here = self.here
        if not here.line.knows(0) or (left > SHORT and text.rounds >= START and not here.settled.knows(0)):
            return 0
        for arm in range(1, len(self.arms)) if left > SHORT else ():
            tried = self.shared[arm].all.rounds
            if tried < TRIES or self._drafting(arm) is None:
                risk = 0.0 if tried else FIRST * here.line.at(0)
                if (arm == 1 and not tried) or self.lost + risk <= self.options.venture * self.spent:
                    return arm
        return None

    def _highest(self, text: Text, view: View) -> tuple[int, float]:
        """The arm of the highest surplus, but for drafters that have made an offer, where that is worth leaving plain decoding
        for; and what it has to be beaten by.
        """
        best, most, offered = 0, 1.0 - text.pace + EDGE, [offer.drafter for offer in view.offers]
        for arm in range(1, len(self.arms)):
            if self.arms[arm].drafter not in offered and (surplus := self.surplus(arm, text, view)) > most:
                best, most = arm, surplus
        return best, most

    def surplus(self, arm: int, text: Text, view: View) -> float:
        """Tokens that a round of this arm may give beyond those that its seconds give at the text's pace; the best arm in the
        long run is the one that has most of it, not the one whose rounds have the best quotient, since a short round leaves its
        time to others. What slows all rounds alike does not matter. Plain decoding's is 1 less the pace.
        """
        seconds, drafter = self._seconds(arm), self.arms[arm].drafter
        if seconds is None:
            return -math.inf
        most = self._most(arm, beside(view.offers), text)
        if drafter not in text.begun:
            seconds += self.catching[drafter] * view.length / max(1.0, min(self.stays[drafter], KEPT * view.left / most))
        return most - text.pace * seconds / self.here.line.at(0)

    def promise(self, arm: int, nodes: int, text: Text) -> float:
        """The surplus of a round that lets these nodes be scored, which are drafted already."""
        if self.shared[arm].all.rounds == 0.0:
            return -math.inf
        most, line = min(nodes + 1.0, self._most(arm, offering(nodes), text)), self.here.line
        return most - text.pace * line.at(nodes) / line.at(0)

    def _most(self, arm: int, where: Situation, text: Text) -> float:
        """Tokens that a round may give: what rounds like it did, times how this text compares with others, and some standard
        errors.
        """
        past, ours, trust = self.shared[arm], text.arms[arm], self.options.trust
        usual = trust * past.all.mean
        expected = ours.expected + usual
        scale = (ours.tokens + usual) / expected if expected else 1.0
        rounds = max(1.0, ours.rounds + min(trust, past.all.rounds))
        error = past.all.spread * math.sqrt(math.log(2.0 + text.rounds) / rounds)
        return past.expects(where) * scale + self.options.caution * error

    def _pace(self, text: Text) -> float:
        """Tokens in the time of a plain round at which this text is written, some of other texts' among them; 1 at least."""
        usual = self.options.trust / self.written if self.written else 0.0
        steps = text.steps + usual * self.steps
        return max(1.0, (text.tokens + usual * self.written) / steps) if steps else 1.0

    def _known(self) -> float:
        """Tokens for each second of the best arm among those that were tried often enough."""
        rates = [1.0 / self.here.line.at(0)]
        for arm in range(1, len(self.arms)):
            past, seconds = self.shared[arm].all, self._seconds(arm)
            if past.rounds >= TRIES and seconds is not None:
                rates.append(past.mean / seconds)
        return max(rates)

    def _seconds(self, arm: int) -> float | None:
        """Of a drafter's round: those of its own, or else the price of as many nodes as it has and of drafting them; None where
        nothing is known.
        """
        past, drafting = self.shared[arm].all, self._drafting(arm)
        if past.rounds == 0.0 or drafting is None:
            return None
        nodes = past.nodes / past.rounds
        return self.here.whole[arm].seconds or self.here.line.at(nodes) + drafting.at(nodes)

    # -- what was seen ---------------------------------------------------------------------------------------------------

    def _weigh(self, offer: Offer, gain: float, text: Text) -> None:
        """Seconds that an offer saved against what would have been picked without it, less those of asking."""
        line, drafter = self.here.drafting[offer.drafter], offer.drafter
        plain = self.here.line.at(0)
        net, hope = gain / text.pace * plain - (line.at(offer.nodes) if line else 0.0), HOPE * plain
        for known, weight in ((text.worth, ASKED), (self.worth, ASKED_ALL)):
            before = hope if known[drafter] == math.inf else known[drafter]
            known[drafter] = before + weight * (net - before)

    def _learn(self, arm: int, text: Text, view: View, outcome: Outcome) -> None:
        """Enter what an arm's round gave and took; plain decoding's tokens are known."""
        if self.shared[arm].all.rounds < TRIES and self.here.line.knows(0):
            self.lost += outcome.seconds - outcome.tokens / self._known()
        said = any(offer.drafter == self.arms[arm].drafter for offer in view.offers)
        self._time(arm, text, view, outcome, said)
        if not outcome.truncated:
            where = offering(outcome.drafted) if said else beside(view.offers)
            self._enter(arm, text, where, outcome.tokens, outcome.drafted)
            self._infer(arm, text, where, outcome)

    def _count(self, outcome: Outcome, text: Text, nodes: int) -> None:
        """Enter a round of any kind into the text's pace and that of all."""
        fade, steps = self.options.fade, outcome.seconds / self.here.line.at(0) if nodes and self.here.line.knows(0) else 1.0
        text.rounds += 1
        text.tokens, text.steps = text.tokens * fade + outcome.tokens, text.steps * fade + steps
        self.written, self.steps, self.spent = self.written + outcome.tokens, self.steps + steps, self.spent + outcome.seconds

    def _time(self, arm: int, text: Text, view: View, outcome: Outcome, said: bool) -> None:
        """Enter the seconds of drafting and of the whole. A drafter's first draft of a text holds its catching up, and once what
        is measured or made at first use: it tells of the price of a beginning only.
        """
        drafter, draft = self.arms[arm].drafter, outcome.draft_seconds
        text.drafted[drafter] = text.drafted.get(drafter, 0) + 1
        line = self.here.drafting[drafter]
        if drafter in text.begun:
            line.add(outcome.drafted, draft)
            if not said:
                self.here.enter_whole(arm, outcome.seconds, text.rounds)
        elif line:
            late = max(0.0, draft - line.at(outcome.drafted)) / max(1, view.length)
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
        past = self.shared[arm]
        past.add(where, tokens, nodes, SHARED_FADE)
        text.arms[arm].add(tokens, past.expects(where), self.options.fade)

    def _believe(self, arm: int, tokens: float, seconds: float, catching: float) -> None:
        """Begin with what is known; without plain decoding's seconds the others' say nothing."""
        if arm == 0:
            self.here.settled.add(0, seconds)
        elif self.here.settled.knows(0):
            drafter, mean = self.arms[arm].drafter, self.here.whole[arm]
            mean.seconds, mean.weight = seconds, TRIES
            self.here.drafting[drafter].add(0, max(0.0, seconds - self.here.settled.at(0)))
            for _ in range(math.ceil(max(TRIES, self.options.trust))):
                self.shared[arm].add(beside(()), tokens, 0, 1.0)
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

    def _text(self, row: int) -> Text:
        if row not in self._texts:
            self._texts[row] = Text([Against() for _ in self.arms], list(self.worth))
        return self._texts[row]
