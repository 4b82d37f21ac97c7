"""What bandits share: their arms, what a round earned, and one policy for each row or one for all."""

import random
import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from paceline.controllers._log import Entry, Log
from paceline.core.arms import Arm, Outcome, View
from paceline.errors import SpecError, did_you_mean

__all__ = ["Bandit", "Earned", "Options", "Policy", "Pull", "Reward", "arms_of", "bandit", "check"]

Reward = Literal["tokens", "speed", "net"]
REWARDS = ("tokens", "speed", "net")
RECENT = 31  # timings that a running median looks back on
INSTANT = 1e-9  # seconds; no round is taken to be shorter


class Options(Protocol):
    """What every bandit can be told; explained at `Ucb`."""

    @property
    def budgets(self) -> tuple[int, ...]: ...
    @property
    def depth(self) -> int | None: ...
    @property
    def reward(self) -> Reward: ...
    @property
    def carry(self) -> bool: ...
    @property
    def seed(self) -> int: ...
    @property
    def log(self) -> str | None: ...


class Pull(NamedTuple):
    """An arm's place, and the chance with which it was chosen."""

    arm: int
    chance: float = 1.0


class Policy(Protocol):
    """Decides for one set of statistics.

    choose: width is the range of the reward; turn counts the rows that these statistics have served in this round, none of
    which has an outcome yet. update: value is the reward, loss the same in [0, 1] with 0 the best.
    """

    def choose(self, width: float, turn: int) -> Pull: ...

    def update(self, pull: Pull, value: float, loss: float) -> None: ...


def check(name: str, options: Options) -> None:
    """Raises SpecError for options that no bandit can have."""
    if not options.budgets or min(options.budgets) < 0:
        raise SpecError(f"{name} needs budgets of 0 (plain decoding) or more, as in {name}:budgets=[0,4,16]; found "
                        f"{list(options.budgets)}.")
    if options.depth is not None and options.depth < 1:
        raise SpecError(f"{name} needs a depth of at least 1, or none given for the largest budget; found {options.depth}.")
    if options.reward not in REWARDS:
        raise SpecError(f"{name} knows no reward {options.reward!r}.{did_you_mean(str(options.reward), REWARDS)}")


def arms_of(drafters: int, budgets: Sequence[int]) -> list[Arm]:
    """Plain decoding once, where 0 is among the budgets, then every drafter with every other budget."""
    if drafters < 1:
        raise SpecError("A controller needs at least one drafter to choose from, found none; 'none' decodes plainly.")
    plain = [Arm(0, 0)] if 0 in budgets else []
    return plain + [Arm(d, b) for d in range(drafters) for b in dict.fromkeys(budgets) if b]


class Earned:
    """The reward of a round, its range, and the loss that goes with it.

    tokens: those committed, in [1, L + 1], the paper's. speed: tokens for each second of this round. net: tokens over running
    medians, of the arm's drafting and of verifying so many nodes, which single slow rounds do not move. The last two favour
    what is fast, not what is long; their range is [0, the largest so far].
    """

    def __init__(self, reward: Reward, depth: int) -> None:
        self.reward = reward
        self.low, self.top = (1.0, depth + 1.0) if reward == "tokens" else (0.0, 0.0)
        self._draft: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._verify: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))

    @property
    def width(self) -> float:
        return self.top - self.low

    def of(self, arm: int, outcome: Outcome) -> float:
        """The reward of one round; the range is widened to hold it."""
        if self.reward == "tokens":
            return float(outcome.tokens)
        value = outcome.tokens / max(INSTANT, self._seconds(arm, outcome))
        self.top = max(self.top, value)
        return value

    def loss(self, value: float) -> float:
        """0 at the top of the range, 1 at its low end."""
        return min(1.0, max(0.0, (self.top - value) / self.width))

    def _seconds(self, arm: int, outcome: Outcome) -> float:
        if self.reward == "speed":
            return outcome.draft_seconds + outcome.verify_seconds
        draft, verify = self._draft[arm], self._verify[outcome.drafted]
        draft.append(outcome.draft_seconds)
        verify.append(outcome.verify_seconds)
        return statistics.median(draft) + statistics.median(verify)


def bandit(options: Options, drafters: int, policy: Callable[[int, random.Random], Policy]) -> "Bandit":
    """A controller at work: policy(arms, randomness) makes the statistics of a row, or of all rows."""
    arms = arms_of(drafters, options.budgets)
    earned = Earned(options.reward, options.depth or max(1, *options.budgets))
    return Bandit(arms, earned, policy, options)


class Bandit:
    """Picks an arm for each row and learns from what it earned. It knows the past only, so what is written keeps its law
    (Proposition 3.1): an arm never depends on noise of the round it is picked for.
    """

    timed = True  # it learns from seconds, or from other rows

    def __init__(self, arms: list[Arm], earned: Earned, policy: Callable[[int, random.Random], Policy], options: Options) -> None:
        self.arms, self.earned, self.options = arms, earned, options
        self._make = policy
        self._policies: dict[int | None, Policy] = {}
        self._asked: dict[int, tuple[Pull, View]] = {}
        self._log = Log(options.log) if options.log else None

    def pick(self, views: Sequence[View]) -> list[Arm]:
        """An arm for every row; rows of one round that share statistics share what these knew before it."""
        carry, width, out = self.options.carry, self.earned.width, []
        for turn, view in enumerate(views):
            pull = self._policy(view.row).choose(width, turn if carry else 0)
            self._asked[view.row] = pull, view
            out.append(self.arms[pull.arm])
        return out

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Enter what the round earned.

        What says less of an arm than it should is left out: a round that a stop cut, and one whose budget reaches beyond the
        tokens left, judged by the budget alone, as what a draft turned out to be would prefer the short ones. A drafter that the
        engine no longer asks, because it failed, does count with its one token.
        """
        entries = []
        for outcome in outcomes:
            pull, view = self._asked.pop(outcome.row)
            used = not outcome.truncated and self.arms[pull.arm].budget < view.left
            if used:
                value = self.earned.of(pull.arm, outcome)
                self._policy(outcome.row).update(pull, value, self.earned.loss(value))
            if self._log is not None:
                entries.append(Entry(pull.arm, view, outcome, used))
        if self._log is not None and not self._log.add(entries):
            self._log = None

    def forget(self, row: int) -> None:
        """Drop what is kept for a row that has ended; carried statistics stay."""
        self._policies.pop(row, None)
        self._asked.pop(row, None)

    def _policy(self, row: int) -> Policy:
        key = None if self.options.carry else row
        if key not in self._policies:
            self._policies[key] = self._make(len(self.arms), random.Random(f"{self.options.seed}/{key}"))
        return self._policies[key]
