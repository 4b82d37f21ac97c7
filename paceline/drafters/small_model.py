"""A smaller causal language model with the same vocabulary drafts a chain (Leviathan et al. 2023; Chen et al. 2023) or a tree.

Optional further candidates beside the chain make a comb; a beam of the likeliest paths makes a tree. How is in `_follow.py`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from paceline.drafters._follow import Follower, check
from paceline.errors import ModelError
from paceline.lm import LM, load
from paceline.lm.load import kept, resolve

__all__ = ["SmallModel"]


@dataclass(frozen=True)
class SmallModel:
    """model: zoo name, hub id, folder, transformers model or LM. length: most drafted tokens of the chain. branch: candidates
    per position, 1 = a chain. beam: paths kept at each depth; above 0 a tree of the likeliest paths, `length` deep, is drafted
    instead, as far as the budget goes. drawn: draw the chain under sampling (False = always the likeliest token, declared
    chosen). worth: draft while a path is expected to be accepted with at least this probability: 0 = always `length` tokens,
    None = what drafting and scoring a token costs here, measured. guided: draft the chains of guided rows with both branches,
    which costs the small model two rows; False = with the first alone.
    """

    model: Any
    length: int = 8
    branch: int = 1
    beam: int = 0
    drawn: bool = True
    worth: float | None = None
    guided: bool = True

    def __post_init__(self) -> None:
        check("small_model", self)

    def attach(self, lm: LM) -> Follower:
        """Load the small model in the target's dtype and check that the two speak the same tokens."""
        named = isinstance(self.model, str)
        forward = "auto" if lm.asked_forward == "fused" else lm.asked_forward  # the small model may be of another family
        make = partial(load, self.model, dtype=lm.dtype if named else None, forward=forward, packed=lm.asked_packed,
                       device=str(lm.device) if named else None)
        small = kept(lm, resolve(self.model), "small_model", make) if named else make()
        same_vocabulary(lm, small)
        return Follower(self, small, lm, "small_model", guided=self.guided)


def same_vocabulary(lm: LM, small: LM) -> None:
    """Raise ModelError, saying what differs, unless token ids mean the same to both models; one may have further ones."""
    ours, theirs = ({} if m.tokenizer is None else m.tokenizer.get_vocab() for m in (lm, small))
    if ours and theirs:
        if ours.items() <= theirs.items() or theirs.items() <= ours.items():
            return
        token = next((t for t in sorted(ours.keys() | theirs.keys(), key=str) if ours.get(t) != theirs.get(t)), "")
        raise ModelError(f"The draft model has another vocabulary: {len(theirs)} tokens against the target's {len(ours)}; "
                         f"{token!r} is id {theirs.get(token, 'missing')} there and {ours.get(token, 'missing')} here. "
                         "Use a draft model trained with the target's tokenizer.")
    if lm.vocab != small.vocab:
        missing = " and the ".join(name for name, known in (("target", ours), ("draft model", theirs)) if not known)
        raise ModelError(f"The draft model has another vocabulary, {small.vocab} ids against the target's {lm.vocab}, and only "
                         f"the tokenizer of the {missing} can tell which of them mean the same: give it to load or accelerate.")


def tiny(lm: LM) -> SmallModel:
    return SmallModel(model=lm, length=3, worth=0.0)
