"""OaXE of phrases: n tokens that stand together move together, in their order (Du et al. 2022, arXiv 2210.03999)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from paceline.errors import SpecError, did_you_mean
from paceline.objectives import Loss
from paceline.objectives._phrases import blocks, tiling, windows
from paceline.objectives._reordered import check, reordered

__all__ = ["NgramOaxe"]

VARIANTS = {"windows": windows, "tiling": tiling, "blocks": blocks}


@dataclass(frozen=True)
class NgramOaxe:
    """OaXE lets every word move alone, into orders that no language has; what moves is mostly phrases. n = 1 is OaXE, n at or
    above a sentence's length XE.

    n: tokens of a phrase, at most the sentence's length.
    variant: which phrases may move where.
        windows: each window of n positions gets a window of n tokens of its own, overlapping ones too, so a position inside gets
            up to n labels; each label weighs 1 / (windows over that position). Where two phrases have changed places, windows
            over the seam find no partner and cost much; a margin takes them out.
        tiling: positions and tokens are cut into phrases of n from the left; a shorter one at the end stays.
        blocks: what the idea says literally: each run of tokens that stays together has n or more. Exact up to 16 tokens, and
            22 for n = 3; above, the best of a beam, never worse than XE. On the CPU, and slow.
    curriculum: share c, 1 to 0, of a sentence's length L above n: phrases have n + c (L - n) tokens, rounded up. As it falls
        (`paceline.train.schedule.falling`) it leads from XE to phrases of n.
    margin, gate, smoothing, mix, compat: as for `oaxe`.

    Source: the paper's idea. Its code is not to be had and the exact reduction not known to us, so all three variants are
    reconstructions. `windows` is the nearest, with weights of ours that make n = 1 OaXE, n = L XE, and the reference's own order
    XE for every n. Its sum is no bound of that of `blocks`, on either side, and may even fall below OaXE's, since a token may be
    the label of more positions than one.
    """

    n: int = 2
    variant: Literal["windows", "tiling", "blocks"] = "windows"
    curriculum: float = 0.0
    margin: float = 0.0
    gate: float = 0.0
    smoothing: float = 0.0
    mix: float = 0.0
    compat: bool = False

    def __post_init__(self) -> None:
        check("ngram_oaxe", self)
        if self.n < 1 or not 0 <= self.curriculum <= 1:
            raise SpecError(f"ngram_oaxe needs n >= 1 and 0 <= curriculum <= 1; found n={self.n}, curriculum={self.curriculum}.")
        if self.variant not in VARIANTS:
            raise SpecError(f"ngram_oaxe has no variant {self.variant!r}.{did_you_mean(self.variant, VARIANTS)}")

    def __call__(self, logits: Tensor, target: Tensor, teacher: Tensor | None = None) -> Loss:
        """Sum over the scored positions, in nats; arguments, parts and errors as for `oaxe`."""
        return reordered(logits, target, self, lambda costs, sizes: VARIANTS[self.variant](costs, sizes, self.lengths(sizes)))

    def lengths(self, sizes: Tensor) -> Tensor:
        """Tokens of a phrase ``[N]`` in sentences of ``sizes [N]`` tokens, at least 1."""
        above = (self.curriculum * (sizes - self.n).clamp_min(0)).ceil().long()
        return (self.n + above).minimum(sizes).clamp_min(1)
