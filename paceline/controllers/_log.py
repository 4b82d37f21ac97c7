"""A bandit's log: one line of JSON for each row and round, and the way back, so that a policy can be replayed without a model."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from paceline.core.arms import Arm, Outcome, View
from paceline.errors import DataError

__all__ = ["Entry", "Log", "recorded"]

log = logging.getLogger("paceline")


@dataclass(frozen=True)
class Entry:
    """What a row was given and what came of it. arm: the place of the picked arm among the controller's arms; used: whether the
    round entered the statistics. `outcome.arm` is what the engine granted, whose budget the end of a text may have clipped.
    """

    arm: int
    view: View
    outcome: Outcome
    used: bool


class Log:
    """Begins an empty file and adds to it after every round; each round is written whole and the file closed again.

    Raises DataError where the file cannot be begun. One that later cannot be added to is given up with a warning: a full disk
    should cost the log, not the text.
    """

    def __init__(self, path: str) -> None:
        self.path, self.round = Path(path), 0
        try:
            self.path.write_text("", encoding="utf-8")
        except OSError as error:
            raise DataError(f"Cannot write the controller's log {path}: {error.strerror or error}.") from error

    def add(self, entries: Sequence[Entry]) -> bool:
        """One round of all its rows; False where it could not be written."""
        text = "".join(json.dumps({"round": self.round} | asdict(entry)) + "\n" for entry in entries)
        self.round += 1
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            log.warning("The controller's log %s ends at round %d: %s.", self.path, self.round, error.strerror or error)
            return False
        return True


def recorded(path: str | Path) -> list[list[Entry]]:
    """The rounds of a log, in order. Raises DataError for a file that cannot be read or a line that is none of ours."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the controller's log {path}: {error}.") from error
    rounds: dict[int, list[Entry]] = {}
    for number, line in enumerate(lines, 1):
        try:
            which, entry = _entry(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: expected a round as a controller logs it, found {line[:60]!r}.") from error
        rounds.setdefault(which, []).append(entry)
    return [rounds[which] for which in sorted(rounds)]


def _entry(line: dict) -> tuple[int, Entry]:
    outcome = Outcome(**line["outcome"] | {"arm": Arm(**line["outcome"]["arm"])})
    return line["round"], Entry(line["arm"], View(**line["view"]), outcome, line["used"])
