"""The drafter with the most tokens for each second, at measured costs, and none where plain decoding has more: never slower.

A renewal-reward view: throughput is the mean tokens of a round over its mean seconds, so an arm is worth the upper bound of its
tokens over its seconds. An arm is a drafter with a node budget; plain decoding is always one, its tokens are known to be one, and
what cannot be thought to beat it is not drafted. Seconds come from prices that all arms share: a round costs what its nodes cost
anyone, and its drafting (`_prices.py`). What a drafter needs to catch up with a text that it has not seen (a model has to read
the prompt) is charged to it, spread over the tokens that are left. A round also tells what other budgets of its drafter would
have given (`Outcome.reach`), which is entered as if they had been played. And where a drafter has said what it would propose now
(`View.offers`), it is judged by rounds with about as many nodes, not by its mean: one that looks far ahead is sure of itself. After
BanditSpec (arXiv 2505.15141), whose rewards count tokens alone, those of the played arm, whatever it proposes, and start anew
with every text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paceline.arm import Arm, Offer, Outcome, View
from paceline.controllers._arms import arms_of
from paceline.controllers._prices import START, Line, Prices
from paceline.controllers._tallies import Past, Situation, Tally, Text, beside, offering
from paceline.errors import SpecError

__all__ = ["Cost"]

SHARED_FADE = 0.998  # weight that a round of any text loses with each later one
TRIES = 4  # rounds after which an arm counts as known
FIRST = 8  # plain rounds that the first of a new arm is feared to lose
EDGE = 1.02  # times plain decoding's tokens a second that an arm has to promise: below, asking it is not worth the trouble
HOLD = (8, 2)  # rounds for which plain decoding, and an arm, is kept to without a further look, unless something is heard
ASKED, ASKED_ALL = 0.1, 0.02  # weights of the last offer in what asking a drafter is worth, on a text and on all
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
    caution: float = 0.2
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
    """Picks the arm of the highest bound for every row; knows the past only, so the text keeps its law."""

    timed = True

    def __init__(self, options: Cost, drafters: int) -> None:
        self.options, self.drafters, self.most = options, drafters, max(options.budgets)
        self.arms = arms_of(drafters, (0, *options.budgets))
        self.shared = [Past() for _ in self.arms]
        self.prices: list[Prices] = []  # by the power of two of the rows that are decoded together
        self.catching = [0.0] * self.drafters  # seconds of catching up for each token of the text
        self.worth = [0.0] * drafters  # seconds that asking a drafter before a pick is worth
        self.pace = [0.0, 0.0]
        self._texts: dict[int, Text] = {}
        self._asked: dict[int, tuple[int, View]] = {}
        self._together = 0
        self.spent = self.lost = 0.0  # seconds of all rounds; those that new arms took beyond what the best known would have
        for arm, known in enumerate(options.prior):
            if known is not None:
                self._believe(arm, *known)

    def pick(self, views: Sequence[View]) -> list[Arm]:
        """An arm for every row."""
        self._together = (max(1, len(views)) - 1).bit_length()
        out = []
        for view in views:
            arm = self._best(view)
            self._asked[view.row] = arm, view
            out.append(self.arms[arm])
        return out

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Enter what came of a round; one that a stop cut says less of its arm than it should."""
        for outcome in outcomes:
            arm, view = self._asked.pop(outcome.row)
            text = self._text(outcome.row)
            self.spent += outcome.seconds
            if arm and self.shared[arm].all.rounds < TRIES and self._here().line.knows(0):
                self.lost += outcome.seconds - outcome.tokens / self._known(text)
            self._time(arm, outcome, view, text)
            if arm and not outcome.truncated:  # plain decoding's tokens are known
                said = any(offer.drafter == self.arms[arm].drafter for offer in view.offers)
                where = offering(outcome.drafted) if said else beside(view.offers)
                self._enter(arm, outcome.row, where, outcome.tokens, outcome.drafted)
                self._infer(arm, outcome, where)
            text.rounds += 1
            text.tokens, text.seconds = 0.97 * text.tokens + outcome.tokens, 0.97 * text.seconds + outcome.seconds
            self.pace = [0.998 * self.pace[0] + outcome.tokens, 0.998 * self.pace[1] + outcome.seconds]

    def hear(self, row: int, drafter: int, tokens: int, nodes: int, seconds: float) -> None:
        """Enter what a drafter that was not at work would have given, had it been let score so many nodes (`shadow.py`): its
        tokens, and the seconds it took to say so, unless it had to catch up for that.
        """
        text = self._text(row)
        if drafter in text.begun:
            self._here().drafting[drafter].add(nodes, seconds)
        text.begun.add(drafter)
        for which, arm in enumerate(self.arms):
            if arm.drafter == drafter and arm.budget and nodes <= arm.budget:
                self._enter(which, row, offering(nodes), tokens, nodes)

    def forget(self, row: int) -> None:
        """Drop a row that has ended; what it taught of the arms stays."""
        self._texts.pop(row, None)
        self._asked.pop(row, None)

    # -- bounds ----------------------------------------------------------------------------------------------------------

    def _best(self, view: View) -> int:
        """What has to be tried; else the best of the arms whose drafters have said nothing yet, which is looked for every other
        round or so only, or what promises more among those that have.
        """
        text, among = self._text(view.row), (self._together, *(offer.drafter for offer in view.offers))
        if text.rounds >= text.until or among != text.among:
            if (new := self._new(text, view.left)) is not None:
                return new
            text.among = among
            text.arm, text.rate = self._highest(text, view)
            text.until = text.rounds + (HOLD[text.arm > 0] if text.rounds >= START else 1)
        best, most = text.arm, text.rate
        for offer in view.offers:
            gain = 0.0
            for arm in self._of(offer.drafter) if offer.nodes else ():
                nodes = min(offer.nodes, self.arms[arm].budget)
                tokens, seconds = self.promise(arm, nodes, text)
                net = tokens - self._pace(text) * seconds
                gain = max(gain, (net - text.rate) / self._pace(text))
                if net > most:
                    best, most = arm, net
            self._asking(offer, gain, text)
        return best

    def _pace(self, text: Text) -> float:
        """Tokens a second at which this text is written."""
        t, s = self.pace
        w = self.options.trust / t if t else 0.0
        if text.seconds + w * s == 0.0:
            return 1.0 / self._here().plain
        return max((text.tokens + w * t) / (text.seconds + w * s), 1.0 / self._here().plain)

    def wants(self, row: int, drafter: int) -> bool:
        """Whether asking this drafter before a pick has lately been worth its time on this text."""
        text = self._text(row)
        if text.arm and self.arms[text.arm].drafter == drafter:
            return True
        return text.worth.get(drafter, self.worth[drafter]) > 0

    def _asking(self, offer: Offer, gain: float, text: Text) -> None:
        """Seconds that an offer saves against what was picked without it, less those that asking takes."""
        line, drafter = self._here().drafting[offer.drafter], offer.drafter
        net = gain - (line.at(offer.nodes) if len(line) else 0.0)
        old = text.worth.get(drafter, self.worth[drafter])
        text.worth[drafter] = old + ASKED * (net - old)
        self.worth[drafter] += ASKED_ALL * (net - self.worth[drafter])

    def _new(self, text: Text, left: int) -> int | None:
        """The first arm that was not tried often enough and can be tried now: plain decoding first, since the others are measured
        by it, and again where only the slow beginning of a text has shown it; the first drafter at once, others when their try,
        which may hold a good deal of catching up, is no more than may be lost.
        """
        prices = self._here()
        if not prices.line.knows(0) or (left > SHORT and text.rounds >= START and not prices.settled.knows(0)):
            return 0
        if left <= SHORT:
            return None
        for arm in range(1, len(self.arms)):
            tried = self.shared[arm].all.rounds
            if tried < TRIES or self._drafting(arm) is None:
                risk = 0.0 if tried else FIRST * prices.plain
                if (arm == 1 and not tried) or self.lost + risk <= self.options.venture * self.spent:
                    return arm
        return None

    def _highest(self, text: Text, view: View) -> tuple[int, float]:
        """The arm of the highest bound, but for drafters that have made an offer, where that is worth leaving plain decoding for;
        and what it has to be beaten by.
        """
        pace = self._pace(text)
        tokens, seconds = self.bound(0, text, view)
        best, most = 0, tokens - pace * seconds + EDGE - 1
        for arm in range(1, len(self.arms)):
            if self.arms[arm].drafter not in text.among[1:]:
                tokens, seconds = self.bound(arm, text, view)
                if tokens - pace * seconds > most:
                    best, most = arm, tokens - pace * seconds
        return best, most

    def bound(self, arm: int, text: Text, view: View) -> tuple[float, float]:
        """Tokens for each second that this arm may have on this text: the mean of this text's rounds and of some of others', and
        so many standard errors.
        """
        prices, later = self._here(), self._here().later(text.rounds)
        if arm == 0:
            return 1.0, prices.plain + later
        shared, drafting = self.shared[arm].of(beside(view.offers)), self._drafting(arm)
        if shared.rounds < TRIES:
            shared = self.shared[arm].all
        tokens, nodes, rounds = self._mean(text.tallies[arm], shared)
        if rounds == 0.0 or drafting is None:
            return 0.0, 1.0
        drafter = self.arms[arm].drafter
        most = tokens + self._allowed(shared, rounds, text)
        late = 0.0 if drafter in text.begun else self.catching[drafter] * view.length
        whole = prices.whole[arm].at(0) if len(prices.whole[arm]) else prices.at(nodes) + drafting.at(nodes)
        return most, whole + later + late * most / max(1.0, view.left)

    def promise(self, arm: int, nodes: int, text: Text) -> tuple[float, float]:
        """Tokens for each second of a round that lets these nodes be scored, which are drafted already: by rounds of this arm with
        about as many, the mean of all its rounds on this text as one more of them.
        """
        tokens, _, rounds = self._mean(text.tallies[arm], self.shared[arm].all)
        if rounds == 0.0:
            return 0.0, 1.0
        alike, prices = self.shared[arm].of(offering(nodes)), self._here()
        mean = (alike.tokens + tokens) / (alike.rounds + 1)
        most = min(nodes + 1.0, mean + self._allowed(alike, alike.rounds + 1, text))
        return most, prices.at(nodes) + prices.later(text.rounds)

    def _allowed(self, tally: Tally, rounds: float, text: Text) -> float:
        """Tokens by which a mean over so many rounds may be exceeded."""
        return self.options.caution * tally.spread * math.sqrt(math.log(2.0 + text.rounds) / rounds)

    def _mean(self, ours: Tally, others: Tally) -> tuple[float, float, float]:
        """Tokens and nodes of a round, from this text's and so many of others' as are trusted; and how many rounds these are."""
        weight = min(self.options.trust, others.rounds) / (others.rounds or 1.0)
        rounds = ours.rounds + weight * others.rounds
        some = rounds or 1.0
        return (ours.tokens + weight * others.tokens) / some, (ours.nodes + weight * others.nodes) / some, rounds

    def _known(self, text: Text) -> float:
        """Tokens for each second of the best arm among those that were tried often enough."""
        prices, most = self._here(), 1.0 / self._here().plain
        for arm in range(1, len(self.arms)):
            drafting = self._drafting(arm)
            if self.shared[arm].all.rounds >= TRIES and drafting is not None:
                tokens, nodes, _ = self._mean(text.tallies[arm], self.shared[arm].all)
                most = max(most, tokens / (prices.at(nodes) + drafting.at(nodes)))
        return most

    # -- what was seen ---------------------------------------------------------------------------------------------------

    def _time(self, arm: int, outcome: Outcome, view: View, text: Text) -> None:
        """Enter the seconds of a round. A drafter's first draft of a text holds its catching up, and once what is measured or made
        at first use: it tells of the price of a beginning only.
        """
        prices = self._here()
        prices.enter(outcome.drafted, outcome.seconds - outcome.draft_seconds, text.rounds)
        if arm == 0:
            return
        said = any(offer.drafter == self.arms[arm].drafter for offer in view.offers)
        if not said and self.arms[arm].drafter in text.begun and prices.settled.knows(0):
            prices.whole[arm].add(0, outcome.seconds - prices.later(text.rounds))
        drafter = self.arms[arm].drafter
        line = self._here().drafting[drafter]
        if drafter in text.begun:
            line.add(outcome.drafted, outcome.draft_seconds)
        elif len(line):
            late = max(0.0, outcome.draft_seconds - line.at(outcome.drafted)) / max(1, view.length)
            self.catching[drafter] = 0.7 * self.catching[drafter] + 0.3 * late if self.catching[drafter] else late
        text.begun.add(drafter)

    def _infer(self, arm: int, outcome: Outcome, where: Situation) -> None:
        """Enter what the drafter's other budgets would have given, as far as the round tells."""
        for which in self._of(self.arms[arm].drafter):
            budget = self.arms[which].budget
            if which != arm and budget <= outcome.reach:
                tokens, nodes = min(sum(outcome.accepted), budget) + 1, min(outcome.drafted, budget)
                self._enter(which, outcome.row, offering(nodes) if where[0] == "offers" else where, tokens, nodes)

    def _enter(self, arm: int, row: int, where: Situation, tokens: int, nodes: int) -> None:
        """Tokens and nodes of a round, for this text and for all."""
        self.shared[arm].add(where, tokens, nodes, SHARED_FADE)
        self._text(row).tallies[arm].add(tokens, nodes, self.options.fade)

    def _believe(self, arm: int, tokens: float, seconds: float, catching: float) -> None:
        """Begin with what is known: the seconds beyond plain decoding's, of nodes and of drafting, count as drafting."""
        prices, known = self._here(), self.arms[arm]
        if arm == 0:
            prices.settled.add(0, seconds)
        elif prices.settled.knows(0):
            prices.drafting[known.drafter].add(0, max(0.0, seconds - prices.plain))
            for _ in range(math.ceil(max(TRIES, self.options.trust))):
                self.shared[arm].add(beside(()), tokens, 0, 1.0)
            self.catching[known.drafter] = catching

    def _of(self, drafter: int) -> range:
        """The arms of a drafter, plain decoding not among them."""
        each = (len(self.arms) - 1) // self.drafters
        return range(1 + drafter * each, 1 + (drafter + 1) * each)

    def _here(self) -> Prices:
        """For as many rows as are decoded together now."""
        while len(self.prices) <= self._together:
            self.prices.append(Prices([Line() for _ in range(self.drafters)], [Line() for _ in self.arms]))
        return self.prices[self._together]

    def _drafting(self, arm: int) -> Line | None:
        """Seconds of drafting with this arm's drafter, by nodes: for so many rows, or for the nearest number seen."""
        drafter, here = self.arms[arm].drafter, self._together
        if len(line := self._here().drafting[drafter]):
            return line
        known = (i for i, prices in enumerate(self.prices) if len(prices.drafting[drafter]))
        nearest = min(known, key=lambda i: abs(i - here), default=None)
        return None if nearest is None else self.prices[nearest].drafting[drafter]

    def _text(self, row: int) -> Text:
        if row not in self._texts:
            self._texts[row] = Text([Tally() for _ in self.arms])
        return self._texts[row]
