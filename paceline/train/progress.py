"""Shows training progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from paceline.train.loop import Progress

__all__ = ["reporter"]


@contextmanager
def reporter(name: str, steps: int) -> Iterator[Callable[[Progress], None]]:
    """A callback for ``train`` that shows ``name``'s progress while the context is open."""
    if not sys.stderr.isatty():
        yield lambda progress: print(f"{name} {_line(progress)}", file=sys.stderr, flush=True)
        return
    try:
        from rich.progress import Progress as Bar
    except ImportError:
        yield lambda progress: print(f"\r{name} {_line(progress)}", end="", file=sys.stderr, flush=True)
        return
    with Bar(transient=False) as bar:
        task = bar.add_task(name, total=steps)
        yield lambda progress: bar.update(task, completed=progress.step, description=f"{name} {_line(progress)}")


def _line(progress: Progress) -> str:
    losses = " ".join(f"{part} {value:.4f}" for part, value in progress.losses.items())
    return f"step {progress.step}/{progress.steps} {losses} {progress.tokens_per_s:.0f} tokens/s {progress.seconds / 60:.1f} min"
