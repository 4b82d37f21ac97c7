"""How flat the spectra of a model's weight matrices are: entropy, effective rank, energy of the largest, quartile ratio.

A weight matrix is a sum of directions (outer products), each with a singular value. Training that learns rare facts as well as
frequent ones leaves them nearer to each other. Source: "Muon Outperforms Adam in Tail-End Associative Memory Learning" (arXiv
2509.26030), section 3. The matrices alone are read, no text. `vo` and `qk` are the products that a head applies, W_O W_V and
W_Q^T W_K, mean over heads (the paper shows the spectra of V and O together; here they stand apart, too).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from paceline.core.reading import Figure, Reading
from paceline.errors import SpecError
from paceline.lm.decoder import Heads
from paceline.lm.trace import Subject
from paceline.probes import Watch
from paceline.probes._matrices import ROLES, heads_of, matrices

__all__ = ["Spectra"]

METRICS = {"entropy": "of log n", "rank": "directions", "top": "share of energy", "ratio": "75th / 25th percentile"}  # and units
Spectrums = Mapping[str, torch.Tensor]  # role -> what `METRICS` names


@dataclass(frozen=True)
class Spectra:
    """`top`: of how many singular values the energy is added up."""

    top: int = 10

    def __post_init__(self) -> None:
        if self.top < 1:
            raise SpecError(f"spectra needs top >= 1; found top={self.top}.")

    def start(self, subject: Subject) -> Watch:
        """Reads them at once. Raises ModelError where the linears have names that are not known."""
        heads, found, nulls, known = heads_of(subject.settings), [], [], dict[str, Spectrums]()
        for layer in matrices(subject):
            found.append(of_matrices(layer, heads, self.top))
            shapes = {role: weight.shape for role, weight in layer.items()}
            if str(shapes) not in known:
                known[str(shapes)] = of_matrices(noise(shapes), heads, self.top)
            nulls.append(known[str(shapes)])
        return Found(found, nulls)


@dataclass(frozen=True)
class Found:
    """Spectra of each layer's matrices, and of matrices of their shapes with independent normal entries."""

    layers: Sequence[Spectrums]
    nulls: Sequence[Spectrums]

    def reading(self) -> Reading:
        roles = [role for role in (*ROLES, "qk", "vo") if any(role in layer for layer in self.layers)]
        each, null = stacked(self.layers, roles), stacked(self.nulls, roles)
        values = {name: Figure(each[None, ..., i], ("layer", "role"), unit, null[..., i], {"role": roles})
                  for i, (name, unit) in enumerate(METRICS.items())}
        how = ("Entropy 1 and ratio 1: all directions of a matrix weigh the same; entropy 0 and rank 1: one direction is all. "
               "Random matrices lie at the null level.")
        return Reading("spectra", values, how, 0)


def stacked(layers: Sequence[Spectrums], roles: Sequence[str]) -> torch.Tensor:
    """[layers, roles, metrics], NaN where a layer lacks a role."""
    none = torch.full((len(METRICS),), torch.nan, dtype=torch.float64)
    return torch.stack([torch.stack([layer.get(role, none) for role in roles]) for layer in layers]).float()


def noise(shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {role: torch.randn(shape, generator=random, dtype=torch.float32, device="cpu") for role, shape in shapes.items()}


def energies(weight: torch.Tensor) -> torch.Tensor:
    """Squared singular values, ascending, of [..., m, n]: the eigenvalues of the smaller Gram matrix, in fp64."""
    w = weight.double()
    return torch.linalg.eigvalsh(w @ w.mT if w.shape[-2] < w.shape[-1] else w.mT @ w).clamp_min(0)


def product_energies(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Those of left [..., m, d] right [..., d, n], with neither product nor Gram matrix of size m or n."""
    a, b = (torch.linalg.qr(x.double(), mode="r")[1] for x in (left, right.mT))
    return torch.linalg.svdvals(a @ b.mT).flip(-1) ** 2


def spectrum(energy: torch.Tensor, top: int, size: int) -> torch.Tensor:
    """What is said of squared singular values [n], in the order of `METRICS`, [4].

    With q = energy / sum: entropy -sum q log q / log n in 0 … 1; effective rank exp(-sum q log q); the share of the `top`
    largest; the 75th percentile of the energies over the 25th. n counts those that are not zero in fp32, for a matrix whose
    longer side is `size`; one alone has entropy 0.
    """
    energy = energy[energy > energy.max() * (size * torch.finfo(torch.float32).eps) ** 2]
    if not len(energy):
        return energy.new_full((len(METRICS),), math.nan)
    q = energy / energy.sum()
    nats = -(q * q.log()).sum()
    low, high = energy.quantile(energy.new_tensor([0.25, 0.75]))
    return torch.stack([nats / math.log(max(len(q), 2)), nats.exp(), q[-top:].sum(), high / low])


def of_matrices(matrices: Mapping[str, torch.Tensor], heads: Heads, top: int) -> dict[str, torch.Tensor]:
    """Role -> spectrum [4] of one layer's matrices, and of the two products of its heads where it has attention."""
    found = {role: spectrum(energies(weight), top, max(weight.shape)) for role, weight in matrices.items()}
    if not matrices.keys() >= {"q", "k", "v", "o"}:
        return found
    q, k, v = (matrices[role].unflatten(0, (n, -1)) for role, n in
               (("q", heads.queries), ("k", heads.keys), ("v", heads.keys)))
    k, v = (x.repeat_interleave(heads.queries // heads.keys, 0) for x in (k, v))
    o = matrices["o"].unflatten(1, (heads.queries, -1)).transpose(0, 1)
    for role, left, right in (("qk", q.mT, k), ("vo", o, v)):
        each = [spectrum(energy, top, left.shape[1]) for energy in product_energies(left, right)]
        found[role] = torch.stack(each).mean(0)
    return found
