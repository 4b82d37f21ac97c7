"""A one-block head with a sliding window that reads the target's keys: its memory stays as it is (LongSpec, Yang et al. 2025).

The head's own attention sees the last few hundred tokens, and all else through the keys that the target has cached anyway. With
one block the head's keys depend on a token and its position alone, so a long prompt costs it no more than a window's worth of
projections, and nothing that it keeps ever has to be made anew. Source: Yang, Du et al., arXiv 2502.17421, sections 3 and 5.
Departures: a chain is the default, since on a CPU a tree of 68 nodes costs more than it gains (`beam=[4,16,16,16,16]` is the
paper's tree, made narrower where the budget is smaller); sampling is exact, where the released code's is not.
"""

from dataclasses import dataclass
from typing import Any

from paceline.drafters._follow import Follower, check
from paceline.drafters._heads import follow
from paceline.errors import ModelError
from paceline.lm import LM
from paceline.lm.protocols import CausalLM
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import longspec_shape

__all__ = ["Longspec"]


@dataclass(frozen=True)
class Longspec:
    """model: zoo name or folder of a head trained for the target, or a `Head`. length: most drafted tokens of the chain, None =
    as many as the head was trained to draft. branch: candidates per position, 1 = a chain. beam: paths kept at each depth; not
    empty, a tree of the likeliest paths is drafted instead. drawn: draw the chain under sampling (False = always the likeliest
    token, declared chosen). worth: draft while a path is expected to be accepted with at least this probability: 0 = always
    `length` tokens, None = what drafting and scoring a token costs here, measured. rough: the head's weights in int8
    where the forward is compiled.
    """

    model: Any = "zoo:tiny-longspec"
    length: int | None = None
    branch: int = 1
    beam: tuple[int, ...] = ()
    drawn: bool = True
    worth: float | None = None
    rough: bool = True

    def __post_init__(self) -> None:
        check("longspec", self)

    def attach(self, lm: LM) -> Follower:
        """The head at work beside its target."""
        return follow(self, lm, "longspec")


def tiny(lm: CausalLM) -> Longspec:
    if not isinstance(lm, LM):
        raise ModelError("a draft head reads a transformers model")
    return Longspec(Head(longspec_shape(lm, window=6)), length=3, worth=0.0)
