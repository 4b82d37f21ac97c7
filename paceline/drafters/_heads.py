"""What drafters with a head share: finding it, and checking that it belongs to the target."""

import copy
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from paceline.drafters._follow import Follower
from paceline.errors import ModelError
from paceline.lm import LM
from paceline.lm.load import kept, resolve
from paceline.lm.protocols import CausalLM
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.lm import HeadLM
from paceline.models.draft_head.shape import HeadShape, shape_for

__all__ = ["fits", "follow"]

log = logging.getLogger("paceline")


def follow(options: Any, lm: LM, method: str) -> Follower:
    """The head that `options.model` names, at work beside this target, in its dtype; read once for a target.

    Raises ModelError where it was made for a target of another shape; says so where it was trained for another one, or is asked
    to draft further than it has learned.
    """
    source = resolve(str(options.model)) if isinstance(options.model, str | Path) else None
    make = partial(at_work, source or options.model, lm, method, options.rough)
    head = make() if source is None else kept(lm, source, (method, options.rough), make)
    shape: HeadShape = head.model.shape
    options = options if options.length else replace(options, length=shape.block)
    if options.length > shape.block:
        log.warning("This head was trained to draft %d tokens ahead, not %d; the later ones will fare worse.",
                    shape.block, options.length)
    if shape.target and shape.target != lm.fingerprint:
        log.warning("This head was trained for another target than %s; its drafts will fare worse.", lm.name)
    return Follower(options, head, lm, method, reads=bool(shape.reads))


def at_work(model: str | Head, lm: LM, method: str, rough: bool) -> HeadLM:
    """The head of a folder, or a copy of one at hand, beside its target. Raises ModelError for one of another kind or shape."""
    head = Head.from_pretrained(model) if isinstance(model, str) else copy.deepcopy(model)  # .to changes it
    if head.shape.method != method and (head.shape.method, method) != ("small", "glide"):  # the ablation's, which reads nothing
        raise ModelError(f"Expected a {method} head, found one of the kind {head.shape.method}; use the drafter "
                         f"{head.shape.method}.")
    fits(head.shape, lm)
    return HeadLM(head.to(lm.device, lm.dtype), lm, rough)


def fits(shape: HeadShape, lm: CausalLM) -> None:
    """Raise ModelError, saying what differs, unless the head can read this target's keys and speaks its tokens.

    The target it was trained for may have been given more tokens since, or a padded embedding: the ids it had mean the same.
    """
    if not isinstance(lm, LM):
        raise ModelError("A draft head reads the keys of a transformers model; this is none.")
    now = shape_for(lm, width=shape.width, heads=shape.heads, kv_heads=shape.kv_heads, ffn=shape.ffn, layers=shape.layers,
                    reads=shape.reads or None)
    names = ["target_heads", "target_kv_heads", "target_head_dim", "rope", "q_norm"]
    names = names if shape.target == now.target else ["vocab", *names]
    wrong = [f"{n} {getattr(shape, n)} instead of {getattr(now, n)}" for n in names if getattr(shape, n) != getattr(now, n)]
    if shape.shared and shape.width != lm.text_config.hidden_size:
        wrong.append(f"width {shape.width} instead of {lm.text_config.hidden_size}")
    if wrong:
        raise ModelError(f"This draft head was made for another target: it has {', '.join(wrong)}. "
                         f"Use a head trained for {lm.name}.")
