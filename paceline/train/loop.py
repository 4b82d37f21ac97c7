"""The training loop: batches in, a trained model out, resumable at any step. It knows neither the texts nor the
recipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import nn

from paceline.errors import DataError
from paceline.lm.memory import keep_memory
from paceline.train import checkpoint
from paceline.train.muon import Muon, partition
from paceline.train.precision import fast_dtype
from paceline.train.schedule import wsd

__all__ = ["Hook", "Loop", "Progress", "train"]


class Batched(Protocol):
    """What a step learns from; the loop counts its tokens."""

    @property
    def tokens(self) -> torch.Tensor: ...


B = TypeVar("B", bound=Batched)


@dataclass(frozen=True)
class Progress:
    """What the loop reports: ``step`` of ``steps`` done, mean loss per scored token (nats) by part since the last
    report,
    tokens per second since then, and ``seconds`` of training in all."""

    step: int
    steps: int
    losses: dict[str, float]
    tokens_per_s: float
    seconds: float


@dataclass(frozen=True)
class Hook:
    """``call()`` every ``every_s`` seconds of training."""

    every_s: float
    call: Callable[[], object]


@dataclass(frozen=True)
class Loop:
    """How to train: where checkpoints go, for how many steps, how often to save (seconds) and report (steps), peak rates. With a
    ``matrix_lr`` of 0 AdamW steps hidden matrices, too: the usual way to go on from weights that AdamW has made."""

    folder: Path
    steps: int
    save_every_s: float = 180.0
    report_every: int = 10
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    leads: bool = True  # Whether this process writes checkpoints; of several that train together one does.
    autocast: bool | None = None  # Matrix products in bf16; None = where that is faster, as a resumed run did before.


def train(
    model: nn.Module,
    batches: Callable[[int], B],
    gradient: Callable[[B, bool], tuple[dict[str, float], int]],
    loop: Loop,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    hooks: tuple[Hook, ...] = (),
    stop: Callable[[int], bool] = lambda step: False,
) -> float:
    """Train ``model`` (fp32 weights) for ``loop.steps`` steps; returns the seconds spent over all its runs.

    ``gradient(batch, autocast)`` adds a batch's gradient to the parameters and says what was lost, as ``add_gradient`` does.
    Goes on from the newest checkpoint in ``loop.folder``. Since batch ``i`` depends on ``i`` alone and a step draws
    nothing, the result is that of an unbroken run. The last step is always saved. ``stop(step)`` is asked after so many steps,
    0 and the last included, whether to end there.

    Raises:
        DataError: the checkpoint is of another model.
    """
    keep_memory()
    matrices, others = partition(model) if loop.matrix_lr else ([], [p for p in model.parameters() if p.requires_grad])
    optimizer = Muon(matrices, others, lr=loop.matrix_lr, others_lr=loop.other_lr, half=loop.autocast)
    first, spent, autocast = _resume(model, optimizer, loop)
    for group in optimizer.param_groups:
        group["half"] = autocast  # chosen once, also for several processes and for a run that goes on
    meter = _Meter(spent, loop.steps)

    def save(step: int) -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "seconds": meter.seconds, "autocast": autocast}
        if loop.leads:
            checkpoint.save(loop.folder, step, state)

    timers = [_Timer(loop.save_every_s, save), *(_Timer(hook.every_s, _without_step(hook)) for hook in hooks)]
    model.train()
    step = first
    while not stop(step) and step < loop.steps:
        optimizer.set_factor(wsd(step, loop.steps))
        batch = batches(step)
        meter.add(batch, *gradient(batch, autocast))
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % loop.report_every == 0 or step == loop.steps:
            report(meter.read(step))
        for timer in timers:
            timer.tick(step)
    if first < step:
        save(step)
    return meter.seconds


def _without_step(hook: Hook) -> Callable[[int], object]:
    return lambda step: hook.call()


class _Timer:
    """Calls back every so many seconds, when ticked."""

    def __init__(self, every_s: float, call: Callable[[int], object]) -> None:
        self.every_s, self.call, self.due = every_s, call, time.monotonic() + every_s

    def tick(self, step: int) -> None:
        if time.monotonic() > self.due:
            self.call(step)
            self.due = time.monotonic() + self.every_s


class _Meter:
    """Adds up losses and time between reports."""

    def __init__(self, spent: float, steps: int) -> None:
        self.started, self.steps = time.monotonic() - spent, steps
        self._clear()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def _clear(self) -> None:
        self.since, self.tokens, self.scored, self.sums = time.monotonic(), 0, 0, dict[str, float]()

    def add(self, batch: Batched, parts: dict[str, float], scored: int) -> None:
        self.tokens, self.scored = self.tokens + batch.tokens.numel(), self.scored + scored
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in parts.items()}

    def read(self, step: int) -> Progress:
        losses = {name: value / self.scored for name, value in self.sums.items()}
        speed = self.tokens / max(time.monotonic() - self.since, 1e-9)
        self._clear()
        return Progress(step, self.steps, losses, speed, self.seconds)


def _resume(model: nn.Module, optimizer: Muon, loop: Loop) -> tuple[int, float, bool]:
    """Load the newest checkpoint; returns (first step, seconds spent, whether products are in bf16)."""
    autocast = fast_dtype(next(model.parameters()).device.type) is torch.bfloat16 if loop.autocast is None else loop.autocast
    state = checkpoint.latest(loop.folder)
    if state is None:
        return 0, 0.0, autocast
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise DataError(
            f"The checkpoint in {loop.folder} is of another model than the one to train; train in an empty folder. ({error})"
        ) from error
    return state["step"], state["seconds"], state.get("autocast", autocast)
