"""One line on stderr that says what takes so long: on a terminal only, from two seconds on, erased when it is done."""

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["waiting"]

PATIENCE_S = 2.0
ERASE = "\r\x1b[K"


class Line:
    """The line of this process: shows the innermost of what is going on."""

    def __init__(self) -> None:
        self.texts, self.shown, self.lock = list[str](), False, threading.RLock()
        self.timer: threading.Timer | None = None

    def begin(self, text: str) -> None:
        with self.lock:
            self.texts.append(text)
            if len(self.texts) == 1:
                self.timer = threading.Timer(PATIENCE_S, self.show)
                self.timer.daemon = True
                self.timer.start()
            elif self.shown:
                self.show()

    def end(self) -> None:
        with self.lock:
            self.texts.pop()
            if self.shown:
                self.show()
            if not self.texts and self.timer:
                self.timer.cancel()

    def show(self) -> None:
        with self.lock:
            if not self.texts and not self.shown:  # the timer went off just when all was done
                return
            text = f"paceline: {self.texts[-1]} …"[: shutil.get_terminal_size().columns - 1] if self.texts else ""
            print(ERASE + text, end="", file=sys.stderr, flush=True)
            self.shown = bool(self.texts)


LINE = Line()


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say so on the terminal while this takes its time; within another one, instead of that."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    LINE.begin(text)
    try:
        yield
    finally:
        LINE.end()
