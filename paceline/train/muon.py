"""Muon for weight matrices and AdamW for the rest, as one optimiser with one state dict.

Muon makes all singular values of a momentum update about equal, so rare directions are learned as fast as frequent
ones. Source: Jordan et al., Muon (https://kellerjordan.github.io/posts/muon); "Muon Outperforms Adam in Tail-End
Associative Memory Learning" (arXiv 2509.26030). Departure: matrices of one shape go through Newton-Schulz together (one
batched product), because on small matrices the number of calls costs more than the arithmetic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from paceline.errors import ShapeError
from paceline.train.precision import fast_dtype

__all__ = ["Muon", "orthogonalise", "partition"]

_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """Nearest semi-orthogonal matrices of ``matrices [N, rows, cols]``, approximately: singular values land in about
    0.7-1.2.

    Five quintic Newton-Schulz steps X <- aX + (bA + cA^2)X with A = XX^T, on the smaller side. A zero matrix stays
    zero. Small singular values (below about 1e-3 of the largest) are lifted only in part. ``dtype`` of the products: None =
    the faster of bf16 and fp32 here; the result is no better in fp32.
    """
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(dtype or fast_dtype(matrices.device.type))
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def partition(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(hidden matrices for Muon, everything else for AdamW): every trainable parameter exactly once.

    A matrix is hidden when it is the 2-D weight of an ``nn.Linear`` that is neither an output head (``lm_head`` of any module,
    or what the model calls its own) nor tied to an embedding.
    """
    outer = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    tops = [getattr(model, "get_output_embeddings", lambda: None)(), *(getattr(m, "lm_head", None) for m in model.modules())]
    outer |= {id(head.weight) for head in tops if head is not None}
    inner = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)} - outer
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [p for p in trainable if id(p) in inner], [p for p in trainable if id(p) not in inner]


class Muon(torch.optim.Optimizer):
    """Steps ``matrices`` by orthogonalised Nesterov momentum and ``others`` by AdamW; of a sparse gradient only the rows that it
    names, so that a large embedding costs what a batch reads of it (lazy Adam: the others' moments wait).

    Args:
        matrices: 2-D parameters; their step is ``lr * sqrt(max(1, rows / cols))`` times a semi-orthogonal matrix.
        others: any parameters.
        lr, others_lr: peak rates; a schedule scales both through ``set_factor``.
        weight_decay: decoupled, on both groups, with the unadjusted rate.
        half: matrix products in bf16; None = where that is faster. Also a group's setting, kept in the state.

    Raises:
        ShapeError: a parameter in ``matrices`` is not 2-D.

    Defaults: lr 0.02 and momentum 0.95 from the Muon reference code; AdamW betas (0.9, 0.95) as usual for language
    models.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter] = (),
        lr: float = 0.02,
        others_lr: float = 3e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        half: bool | None = None,
    ) -> None:
        matrices, others = list(matrices), list(others)
        if half is None:
            half = fast_dtype(matrices[0].device.type if matrices else "cpu") is torch.bfloat16
        for p in matrices:
            if p.ndim != 2:
                raise ShapeError(f"Muon expected 2-D matrices, found shape {tuple(p.shape)}; put it into `others`.")
        groups: list[dict[str, Any]] = [
            {"params": matrices, "rule": "muon", "lr": lr, "peak": lr, "momentum": momentum},
            {"params": others, "rule": "adamw", "lr": others_lr, "peak": others_lr},
        ]
        shared = {"betas": (0.9, 0.95), "eps": 1e-8, "ns_steps": 5, "weight_decay": weight_decay, "half": half}
        super().__init__([g for g in groups if g["params"]], shared)

    def set_factor(self, factor: float) -> None:
        """Set every group's rate to ``factor`` times its peak."""
        for group in self.param_groups:
            group["lr"] = group["peak"] * factor

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                (self._muon if group["rule"] == "muon" else self._adamw)(group, params)
        return loss

    def _muon(self, group: dict[str, Any], params: list[Tensor]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for p in params:
            by_shape[p.shape].append(p)
        for (rows, cols), same in by_shape.items():
            dtype = torch.bfloat16 if group.get("half") else torch.float32
            update = orthogonalise(self._nesterov(same, group["momentum"]), group["ns_steps"], dtype)
            scale = group["lr"] * max(1.0, rows / cols) ** 0.5
            if group["weight_decay"]:
                torch._foreach_mul_(same, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(same, list(update.unbind(0)), alpha=-scale)

    def _nesterov(self, params: list[Tensor], momentum: float) -> Tensor:
        grads = [p.grad for p in params if p.grad is not None]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        return torch.stack(torch._foreach_lerp(grads, buffers, momentum))

    def _adamw(self, group: dict[str, Any], params: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
            state["step"] += 1
            given: Any = p.grad
            grad = given.coalesce() if given.is_sparse else given
            rows = grad.indices()[0] if grad.is_sparse else slice(None)
            weight, mean, square = p[rows], state["mean"][rows], state["square"][rows]  # copies of rows, or views of all
            values = grad.values() if grad.is_sparse else grad
            mean.lerp_(values, 1 - beta1)
            square.mul_(beta2).addcmul_(values, values, value=1 - beta2)
            denominator = (square / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.addcdiv_(mean, denominator, value=-group["lr"] / (1 - beta1 ** state["step"]))
            if grad.is_sparse:
                p[rows], state["mean"][rows], state["square"][rows] = weight, mean, square
