"""A small head that reads the keys and values the target has already computed drafts a chain or a tree (GliDe, Du et al. 2024).

The head's own block is as small as a small draft model's, but its cross-attention sees what the target knows of the text, so
more of its tokens are accepted. Heads are trained for one target. Source: arXiv 2402.02082; every drafted token sees all of the
target's keys up to the last committed token, with absolute positions.
"""

import copy
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paceline.drafters._follow import Follower, check
from paceline.errors import ModelError
from paceline.lm import LM
from paceline.lm.head import Head
from paceline.lm.head_lm import HeadLM
from paceline.lm.head_shape import HeadShape, fingerprint, shape_for
from paceline.lm.load import resolve

__all__ = ["Glide"]

log = logging.getLogger("paceline")


@dataclass(frozen=True)
class Glide:
    """model: zoo name or folder of a head, or a `Head`. length: most drafted tokens of the chain, None = as many
    as the head was trained to draft. branch: candidates per
    position, 1 = a chain. beam: paths kept at each depth; above 0 a tree of the likeliest paths is drafted instead. drawn: draw
    the chain under sampling (False = always the likeliest token, declared chosen). worth: draft while the product of the head's
    top probabilities stays above this: 0 = always `length` tokens, None = what drafting and scoring a token costs here, measured.
    """

    model: Any
    length: int | None = None
    branch: int = 1
    beam: int = 0
    drawn: bool = True
    worth: float | None = None

    def __post_init__(self) -> None:
        check("glide", self)

    def attach(self, lm: LM) -> Follower:
        """Load the head in the target's dtype and check that it was made for a target of this shape."""
        head = self.model
        head = Head.from_pretrained(resolve(str(head))) if isinstance(head, str | Path) else copy.deepcopy(head)  # .to changes it
        fits(head.shape, lm)
        options = self if self.length else replace(self, length=head.shape.block)
        if (options.length or 0) > head.shape.block:
            log.warning("This head was trained to draft %d tokens ahead, not %d; the later ones will fare worse.",
                        head.shape.block, options.length)
        if head.shape.target and head.shape.target != fingerprint(lm.model):
            log.warning("This head was trained for another target than %s; its drafts will fare worse.", lm.name)
        return Follower(options, HeadLM(head.to(lm.device, lm.dtype), lm), lm, "glide", reads=bool(head.shape.reads))


def fits(shape: HeadShape, lm: LM) -> None:
    """Raise ModelError, saying what differs, unless the head can read this target's keys and speaks its tokens."""
    if not hasattr(lm, "text_config"):
        raise ModelError("A draft head reads the keys of a transformers model; this is none.")
    now = shape_for(lm, width=shape.width, heads=shape.heads, kv_heads=shape.kv_heads, ffn=shape.ffn, layers=shape.layers,
                    reads=shape.reads or None)
    names = ("vocab", "target_heads", "target_kv_heads", "target_head_dim", "rope", "q_norm")
    wrong = [f"{n} {getattr(shape, n)} instead of {getattr(now, n)}" for n in names if getattr(shape, n) != getattr(now, n)]
    if wrong:
        raise ModelError(f"This draft head was made for another target: it has {', '.join(wrong)}. "
                         f"Use a head trained for {lm.name}.")


def tiny(lm: LM) -> Glide:
    if not hasattr(lm, "text_config"):
        raise ModelError("a draft head reads a transformers model")
    shape = shape_for(lm, width=32, heads=2, kv_heads=1, ffn=48)
    return Glide(Head(shape), length=3, worth=0.0)
