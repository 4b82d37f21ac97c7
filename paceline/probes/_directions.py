"""How near to one vector many vectors are. Nothing is centred: "the same vector everywhere" is what is asked for."""

import torch

__all__ = ["cosine", "directions", "no_direction"]

ENERGY = 0.95  # that the effective rank covers


def directions(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each head's rows [H, T, D]: "energy", the share of the first singular direction in the sum of squares; "rank", how many
    directions hold 95 % of it; "mean_energy", the share of the mean row's direction; "cosine", of a row and the mean row, on
    average. Each [H] in fp32. Where rows are a projection W of hidden states, their mean is W times the states' mean: mean_energy
    is what the axis of the states' cone explains.
    """
    squares = torch.linalg.eigvalsh(x.mT @ x).flip(-1).clamp_min(0)
    shares = squares / squares.sum(-1, keepdim=True)
    axis = torch.nn.functional.normalize(x.mean(-2), dim=-1)
    along = (x @ axis[..., None]).square().sum((-2, -1)) / x.square().sum((-2, -1))
    return {"energy": shares[..., 0], "rank": (shares.cumsum(-1) < ENERGY).sum(-1).float() + 1, "mean_energy": along,
            "cosine": cosine(x)}


def cosine(x: torch.Tensor) -> torch.Tensor:
    """Of a row of [..., T, D] and the mean row, on average."""
    return torch.cosine_similarity(x, x.mean(-2, keepdim=True), dim=-1).mean(-1)


def no_direction(rows: int, width: int) -> dict[str, float]:
    """What independent normal rows give: the edge of the Marchenko-Pastur law, and what a row itself adds to the mean."""
    return {"energy": (1 + (width / rows) ** 0.5) ** 2 / width, "mean_energy": 1 / width + 1 / rows, "cosine": rows**-0.5}
