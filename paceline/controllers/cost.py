"""The drafter with the most tokens for each second, at measured costs, and none where plain decoding has more: never slower.

A renewal-reward view: throughput is the mean tokens of a round over its mean seconds, so an arm is worth the upper bound of its
tokens over its seconds. An arm is a drafter with a node budget; plain decoding is always one, its tokens are known to be one, and
what cannot be thought to beat it is not drafted. What a drafter needs to catch up with a text that it has not seen (a model has
to read the prompt) is charged to it, spread over the tokens that are left. A round also tells what other budgets of its drafter
would have given (`Outcome.reach`), which is entered as if they had been played. After BanditSpec (arXiv 2505.15141), whose
rewards count tokens alone, those of the played arm, and start anew with every text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paceline.arm import Arm, Outcome, View
from paceline.controllers._arms import arms_of
from paceline.controllers._tallies import Seconds, Tally, Text
from paceline.errors import SpecError

__all__ = ["Cost"]

SHARED_FADE = 0.998  # weight that a round of any text loses with each later one
TRIES = 8  # timed rounds after which an arm counts as known
FIRST = 8  # plain rounds that the first of a new arm is feared to lose
EDGE = 1.02  # times plain decoding's tokens a second that an arm has to promise: below, asking it is not worth the trouble
HOLD = (8, 2)  # rounds for which plain decoding, and an arm, is kept to without a further look, unless something is heard
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
    caution: float = 0.5
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
        return Priced(self, arms_of(drafters, (0, *self.budgets)))


class Priced:
    """Picks the arm of the highest bound for every row; knows the past only, so the text keeps its law."""

    timed = True

    def __init__(self, options: Cost, arms: list[Arm]) -> None:
        self.options, self.arms = options, arms
        self.shared = [Tally() for _ in arms]
        self.seconds: list[list[Seconds]] = []  # by the power of two of the rows that are decoded together
        self.catching = [0.0] * len(arms)  # seconds of catching up for each token of the text
        self._texts: dict[int, Text] = {}
        self._asked: dict[int, tuple[int, View]] = {}
        self._together, self.node = 0, 0.0  # seconds that one more node of a draft takes
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
            text.rounds += 1
            self.spent += outcome.seconds
            if arm and len(self._seconds()[arm].whole) < TRIES and self._seconds()[0].whole:
                self.lost += outcome.seconds - outcome.tokens / self._known(text)
            if outcome.drafted and self._seconds()[0].whole:
                more = outcome.seconds - outcome.draft_seconds - self._seconds()[0].mean
                self.node += 0.1 * (max(0.0, more) / outcome.drafted - self.node)
            if not outcome.truncated and self.arms[arm].budget:  # plain decoding's tokens are known
                self._enter(arm, outcome.row, outcome.tokens)
                self._infer(arm, outcome, caught_up=arm in text.begun)
            self._time(arm, outcome, view, arm not in text.begun)
            if arm not in text.begun:
                text.begun.update(self._kin(arm))

    def hear(self, row: int, drafter: int, tokens: int, nodes: int, seconds: float) -> None:
        """Enter what a drafter that was not at work would have given, had it been let score so many nodes (`shadow.py`): its
        tokens, and where an arm of its was hardly timed yet the likely seconds of a round.
        """
        self._text(row).until = 0
        for which, arm in enumerate(self.arms):
            if arm.drafter == drafter and arm.budget and nodes <= arm.budget:
                self._enter(which, row, tokens)
                self._guess(which, nodes, seconds)

    def forget(self, row: int) -> None:
        """Drop a row that has ended; what it taught of the arms stays."""
        self._texts.pop(row, None)
        self._asked.pop(row, None)

    # -- bounds ----------------------------------------------------------------------------------------------------------

    def _best(self, view: View) -> int:
        """What was decided a round or a few ago, or a new decision: plain decoding first, since the others are measured by it;
        then each arm until its seconds are known, the later ones as soon as that can be afforded; else the highest bound.
        """
        text = self._text(view.row)
        if text.rounds >= text.until:
            new = self._new(view.left)
            text.arm = self._highest(text, view) if new is None else new
            text.until = text.rounds + (1 if new is not None else HOLD[text.arm > 0])
        return text.arm

    def _new(self, left: int) -> int | None:
        """The first arm that was not timed often enough and can be tried now; the first drafter at once, others when their try,
        which may hold a good deal of catching up, is no more than may be lost.
        """
        if left <= SHORT:
            return None
        plain, *others = self._seconds()
        if not plain.whole:
            return 0
        for arm, known in enumerate(others, 1):
            if not known.whole and arm == 1:
                return arm
            risk = 0.0 if known.whole else FIRST * plain.mean
            if len(known.whole) < TRIES and self.lost + risk <= self.options.venture * self.spent:
                return arm
        return None

    def _highest(self, text: Text, view: View) -> int:
        """The arm of the highest bound, where that is worth leaving plain decoding for."""
        plain = self.bound(0, text, view)
        most, best = EDGE * plain, 0
        for arm in range(1, len(self.arms)):
            if (bound := self.bound(arm, text, view)) > most:
                most, best = bound, arm
        return best

    def bound(self, arm: int, text: Text, view: View) -> float:
        """Tokens for each second that this arm may have on this text: the mean of this text's rounds and of some of others', and
        so many standard errors.
        """
        seconds, others = self._seconds()[arm], self.shared[arm]
        if not seconds.whole:
            return 0.0
        if self.arms[arm].budget == 0:
            return 1.0 / seconds.mean
        mean, rounds = self._mean(arm, text)
        if rounds == 0.0:
            return 0.0
        most = mean + self.options.caution * others.spread * math.sqrt(math.log(2.0 + text.rounds) / rounds)
        late = 0.0 if arm in text.begun else self.catching[arm] * view.length
        return most / (seconds.mean + late * most / max(1.0, view.left))

    def _mean(self, arm: int, text: Text) -> tuple[float, float]:
        """Tokens of an arm's round on this text, from its rounds and some of others', and how many rounds that rests on."""
        ours, others = text.tallies[arm], self.shared[arm]
        weight = min(self.options.trust, others.rounds) / max(others.rounds, 1.0)
        rounds = ours.rounds + weight * others.rounds
        return (ours.tokens + weight * others.tokens) / max(rounds, 1e-9), rounds

    def _known(self, text: Text) -> float:
        """Tokens for each second of the best arm among those that were timed often enough."""
        seconds = self._seconds()
        timed = [arm for arm in range(1, len(seconds)) if len(seconds[arm].whole) >= TRIES]
        return max([1.0 / seconds[0].mean, *(self._mean(arm, text)[0] / seconds[arm].mean for arm in timed)])

    def _time(self, arm: int, outcome: Outcome, view: View, first: bool) -> None:
        """Enter the seconds of a round. In an arm's first round of a text they hold its catching up, and once what is measured or
        made at first use: they tell of the price of a beginning only.
        """
        seconds, plain = self._seconds()[arm], self._seconds()[0]
        if arm and not outcome.drafted and plain.whole:  # nothing was proposed: but for the asking a plain round
            plain.add(outcome.seconds - outcome.draft_seconds)
        if not first:
            seconds.draft.append(outcome.draft_seconds)
            seconds.add(outcome.seconds)
        elif seconds.draft:
            usual = sorted(seconds.draft)[(len(seconds.draft) - 1) // 2]
            late = max(0.0, outcome.draft_seconds - usual) / max(1, view.length)
            late = 0.7 * self.catching[arm] + 0.3 * late if self.catching[arm] else late
            for kin in self._kin(arm):
                self.catching[kin] = late

    def _infer(self, arm: int, outcome: Outcome, caught_up: bool) -> None:
        """Enter what the drafter's other budgets would have given, as far as the round tells. Their seconds too, by the share of
        its nodes, where drafting held no catching up; what a larger budget would have drafted beyond them is not known.
        """
        for which in self._kin(arm):
            budget = self.arms[which].budget
            if which != arm and budget <= outcome.reach:
                self._enter(which, outcome.row, min(sum(outcome.accepted), budget) + 1)
                nodes = min(outcome.drafted, budget)
                if caught_up and (budget < outcome.arm.budget or outcome.drafted < outcome.arm.budget):
                    self._guess(which, nodes, outcome.draft_seconds * nodes / max(1, outcome.drafted))

    def _guess(self, arm: int, nodes: int, draft_seconds: float) -> None:
        """Enter the likely seconds of a round of an arm that was hardly timed yet."""
        plain, *_ = known = self._seconds()
        if plain.whole and len(known[arm].whole) < TRIES:
            known[arm].add(plain.mean + draft_seconds + nodes * self.node)

    def _kin(self, arm: int) -> list[int]:
        """The arms of the same drafter, itself included; plain decoding is alone."""
        wanted = self.arms[arm]
        return [i for i, a in enumerate(self.arms) if a.drafter == wanted.drafter and bool(a.budget) == bool(wanted.budget)]

    def _enter(self, arm: int, row: int, tokens: int) -> None:
        """Tokens of a round, for this text and for all."""
        self.shared[arm].add(tokens, SHARED_FADE)
        self._text(row).tallies[arm].add(tokens, self.options.fade)

    def _believe(self, arm: int, tokens: float, seconds: float, catching: float) -> None:
        for _ in range(math.ceil(self.options.trust)):
            self.shared[arm].add(tokens)
        for _ in range(TRIES):
            self._seconds()[arm].add(seconds)
        self.catching[arm] = catching

    def _seconds(self) -> list[Seconds]:
        while len(self.seconds) <= self._together:
            self.seconds.append([Seconds() for _ in self.arms])
        return self.seconds[self._together]

    def _text(self, row: int) -> Text:
        if row not in self._texts:
            self._texts[row] = Text([Tally() for _ in self.arms])
        return self._texts[row]
