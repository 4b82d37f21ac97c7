"""A small head that reads the keys and values the target has already computed drafts a chain or a tree (GliDe, Du et al. 2024).

The head's own block is as small as a small draft model's, but its cross-attention sees what the target knows of the text, so
more of its tokens are accepted. Heads are trained for one target. Source: arXiv 2402.02082; every drafted token sees all of the
target's keys up to the last committed token, with absolute positions.
"""

from dataclasses import dataclass
from typing import Any

from paceline.drafters._follow import Follower, check
from paceline.drafters._heads import follow
from paceline.errors import ModelError
from paceline.lm import LM
from paceline.lm.protocols import CausalLM
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import shape_for

__all__ = ["Glide"]


@dataclass(frozen=True)
class Glide:
    """model: zoo name or folder of a head trained for the target, or a `Head`. length: most drafted tokens of the chain, None =
    as many as the head was trained to draft. branch: candidates per position, 1 = a chain. beam: paths kept at each depth; above
    0 a tree of the likeliest paths is drafted instead. drawn: draw the chain under sampling (False = always the likeliest token,
    declared chosen). worth: draft while a path is expected to be accepted with at least this probability: 0 = always `length`
    tokens, None = what drafting and scoring a token costs here, measured. rough: the head's weights in int8
    where the forward is compiled.
    """

    model: Any = "zoo:tiny-glide"
    length: int | None = None
    branch: int = 1
    beam: int = 0
    drawn: bool = True
    worth: float | None = None
    rough: bool = True

    def __post_init__(self) -> None:
        check("glide", self)

    def attach(self, lm: LM) -> Follower:
        """The head at work beside its target."""
        return follow(self, lm, "glide")


def tiny(lm: CausalLM) -> Glide:
    if not isinstance(lm, LM):
        raise ModelError("a draft head reads a transformers model")
    shape = shape_for(lm, width=32, heads=2, kv_heads=1, ffn=48)
    return Glide(Head(shape), length=3, worth=0.0)
