"""Word-level distillation: pulls a student's law towards its teacher's (forward KL)."""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.errors import ShapeError
from paceline.objectives import Loss

__all__ = ["distil"]

HARD_SHARE = 0.1


def distil(logits: Tensor, target: Tensor, teacher: Tensor | None = None, *, hard_share: float = HARD_SHARE) -> Loss:
    """Sum over the scored rows of (1 - ``hard_share``) KL(teacher || student) + ``hard_share`` cross-entropy, in nats.

    Speculative sampling accepts a drafted token with probability 1 - TV(teacher, student), and KL bounds TV (Pinsker),
    so this trains what a draft model is used for, where cross-entropy on the text alone does not. Temperature 1.
    Source: Zhou et al., DistillSpec (arXiv 2310.08461), section 4, forward KL on fixed data; the share of plain
    cross-entropy is ours, a guard against the teacher's own mistakes.

    Args:
        logits, teacher: ``[N, V]``; both laws are taken in fp32, and no gradient enters the teacher.
        target: ``[N]`` token ids; rows with a negative one count for neither part.
        hard_share: weight of the cross-entropy, 0 to 1.

    Raises:
        ShapeError: no teacher, or one of another shape.
    """
    if teacher is None or teacher.shape != logits.shape:
        found = "none" if teacher is None else str(tuple(teacher.shape))
        raise ShapeError(
            f"distil expected teacher logits of shape {tuple(logits.shape)}, found {found}; "
            "give a teacher with the student's vocabulary."
        )
    scored = target >= 0
    student = torch.log_softmax(logits[scored].float(), -1)
    wanted = torch.log_softmax(teacher.detach()[scored].float(), -1)
    kl = (wanted.exp() * (wanted - student)).sum()
    hard = -student.gather(1, target[scored, None]).sum()
    total = (1 - hard_share) * kl + hard_share * hard
    return Loss(total, {"kl": float(kl.detach()), "xent": float(hard.detach())})
