"""What one sequence cost and gained."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.core.proposal import Proposal

__all__ = ["Stats", "is_looping"]

PARTS = ("prefill", "draft", "verify", "commit", "host")


@dataclass
class Stats:
    """What one sequence cost and gained. `acceptance_length` counts the bonus token: plain decoding has 1.00."""

    rounds: int = 0  # target forwards after the prefill, one per round
    drafted: int = 0  # nodes scored
    accepted: int = 0  # nodes committed
    new_tokens: int = 0
    drafted_per_position: list[int] = field(default_factory=list)  # rounds that had a node at depth 1, 2, …
    accepted_per_position: list[int] = field(default_factory=list)
    sources: dict[str, list[int]] = field(default_factory=dict)  # source -> [drafted, accepted]
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    reused: int = 0  # prompt tokens whose keys came from an earlier sequence
    peak_memory_bytes: int = 0
    spent: float = 0.0
    cut_layers: list[int] = field(default_factory=list)  # that kept few keys of the text
    saved_bytes: int = 0  # of keys and values that they have let go
    looping: bool = False
    failures: list[str] = field(default_factory=list)

    def count(self, proposal: Proposal, path: Sequence[int]) -> None:
        """Add one round's proposal, of which `path` was committed."""
        self.drafted += len(proposal)
        self.accepted += len(path)
        depth = max(proposal.depths(), default=0)
        for counts in (self.drafted_per_position, self.accepted_per_position):
            counts.extend([0] * (depth - len(counts)))
        for i in range(depth):
            self.drafted_per_position[i] += 1
            self.accepted_per_position[i] += i < len(path)
        for i, source in enumerate(proposal.source):
            pair = self.sources.setdefault(source, [0, 0])
            pair[0] += 1
            pair[1] += i in path

    @property
    def acceptance_length(self) -> float:
        """Mean tokens committed per target forward, the bonus token included."""
        return self.new_tokens / self.rounds if self.rounds else 0.0

    @property
    def accept_per_position(self) -> list[float]:
        """Share of rounds that accepted a node at depth i + 1 (unconditional; vLLM's per-position rate)."""
        return [n / self.rounds for n in self.accepted_per_position] if self.rounds else []

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def decoding_seconds(self) -> float:
        """All seconds but the prefill's, which no draft can shorten."""
        return self.total_seconds - self.seconds["prefill"]

    @property
    def tokens_per_second(self) -> float:
        """New tokens over all of this row's seconds, the prefill included."""
        return self.new_tokens / self.total_seconds if self.total_seconds else 0.0


def is_looping(tokens: Sequence[int], gram: int = 8, times: int = 3, window: int = 64) -> bool:
    """True when any 8-gram stands three times in the last 64 tokens: such text flatters every drafter."""
    tail = list(tokens[-window:])
    seen: dict[tuple[int, ...], int] = {}
    for i in range(len(tail) - gram + 1):
        key = tuple(tail[i : i + gram])
        seen[key] = seen.get(key, 0) + 1
    return any(n >= times for n in seen.values())
