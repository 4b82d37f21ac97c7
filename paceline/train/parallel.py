"""Data parallelism under `torchrun` (or `accelerate launch`): every process takes its share of each batch's rows.

The gradients add up to those of one process with the whole batch, so the number of processes is no setting of a run: it may even
change when a run goes on. A frozen target too large for one device is spread over all by FSDP2, layer by layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from transformers import PreTrainedModel

from paceline.errors import RequestError
from paceline.train.forward import Gradient
from paceline.train.packing import Batch

__all__ = ["Team", "join", "spread"]


@dataclass(frozen=True)
class Team:
    """This process's number among all of them."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """The one process that writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This process's rows."""
        return Batch(*(part[self.rank :: self.size] for part in batch))

    def gradient(self, own: Gradient, parameters: Iterable[nn.Parameter]) -> Gradient:
        """The gradient of whole batches from every process's own on its share."""
        if self.size == 1:
            return own
        taught = list(parameters)

        def gradient(batch: Batch, autocast: bool) -> tuple[dict[str, float], int]:
            parts, scored = own(self.share(batch), autocast)
            sums = torch.tensor([float(scored), *parts.values()], dtype=torch.float64)
            dist.all_reduce(sums)
            for parameter in taught:
                if parameter.grad is not None:  # its mean over the own rows, as a share of the mean over all
                    parameter.grad.mul_(scored / float(sums[0]))
                    dist.all_reduce(parameter.grad)
            return dict(zip(parts, sums[1:].tolist(), strict=True)), int(sums[0])

        return gradient

    def agreed(self, choice: bool) -> bool:
        """The leader's choice, where it was measured."""
        if self.size == 1:
            return choice
        told = torch.tensor([choice])
        dist.broadcast(told, 0)
        return bool(told)

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


def join(rows: int) -> Team:
    """The team a launcher has started this process in, or of one. Raises RequestError where `rows` cannot be shared evenly."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    if rows % size:
        raise RequestError(f"Expected rows to be a multiple of the {size} processes, found {rows}.")
    if not dist.is_initialized():
        # The model is on the CPU; and the others may wait long while the leader makes the texts.
        dist.init_process_group("gloo", timeout=timedelta(days=1))
    return Team(dist.get_rank(), size)


def spread(target: PreTrainedModel) -> None:
    """Keep only a part of every layer of a frozen model in each process; a layer is gathered while it runs (FSDP2)."""
    from torch.distributed.fsdp import fully_shard

    for layer in target.get_decoder().layers:
        fully_shard(layer)
