"""What a head's mean query and mean key say of its scores: a sum of cosines of the distance, one for each rotary pair.

A query q at i and a key k at j, with pairs as complex numbers, give Re sum_l q_l conj(k_l) exp(i f_l (i - j)): pair l adds
A_l cos(f_l (i - j) + phi_l), and what does not turn adds a constant. Where all queries and all keys of a head are nearly the same
vectors, that is the whole score, whatever the tokens. Source: Cheng, Zhang, Hou, Du et al. (arXiv 2601.08297); the exact form
with mean vectors is derived.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from paceline.lm.interventions import BANDS, of_band
from paceline.lm.rotary import Rope

__all__ = ["Waves", "shares", "slash_law", "waves"]


@dataclass(frozen=True)
class Waves:
    """The scores of a head's mean vectors. coefficients, complex [Hq, P]: amplitude and phase of each pair, scale of scores
    included. constant [Hq]: from numbers that do not turn. cap: as in `Seen`.
    """

    coefficients: torch.Tensor
    constant: torch.Tensor
    rope: Rope
    cap: float | None = None

    def at(self, lags: torch.Tensor) -> torch.Tensor:
        """Scores [Hq, n] at these distances [n]."""
        angles = self.rope.angles(lags).T
        turning = self.coefficients.real @ angles.cos() - self.coefficients.imag @ angles.sin()
        scores = turning + self.constant[:, None]
        return scores if self.cap is None else self.cap * torch.tanh(scores / self.cap)


def waves(q: torch.Tensor, k: torch.Tensor, rope: Rope, scale: float, cap: float | None = None) -> Waves:
    """Of mean vectors before they turn: q [Hq, D], k [Hq, D] in fp32."""
    products = rope.pairs(q) * rope.pairs(k).conj() * scale * rope.scale**2
    still = (q * k)[..., 2 * len(rope.frequencies) :].sum(-1) * scale
    return Waves(products, still, rope, cap)


def shares(found: Waves, length: int) -> torch.Tensor:
    """Of the sum of a head's amplitudes, what each band has [Hq, 3]."""
    amplitudes = found.coefficients.abs()
    bands = torch.stack([of_band(found.rope, length, band) for band in BANDS], -1).float()
    return amplitudes @ bands / amplitudes.sum(-1, keepdim=True)


def slash_law(found: Waves, length: int, lags: Sequence[int], window: int | None = None) -> torch.Tensor:
    """The slash scores [Hq, lags] that these waves alone would give, in texts of so many tokens; NaN for a lag beyond them, 0 for
    one beyond the window.
    """
    scores = found.at(torch.arange(length, dtype=torch.long, device=found.constant.device))
    scores[:, window or length :] = -torch.inf
    sums = scores.logcumsumexp(-1)
    return torch.stack([(scores[:, lag : lag + 1] - sums[:, lag:]).exp().mean(-1) for lag in lags], -1)
