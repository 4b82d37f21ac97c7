"""How near to one vector many vectors are. Nothing is centred: "the same vector everywhere" is what is asked for."""

import torch

__all__ = ["directions", "no_direction"]

ENERGY = 0.95  # that the effective rank covers


def directions(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each head's rows [H, T, D]: "energy", the share of the first singular direction in the sum of squares; "rank", how many
    directions hold 95 % of it; "cosine", of a row and the mean row, on average. Each [H] in fp32.
    """
    squares = torch.linalg.eigvalsh(x.mT @ x).flip(-1).clamp_min(0)
    shares = squares / squares.sum(-1, keepdim=True)
    return {"energy": shares[..., 0], "rank": (shares.cumsum(-1) < ENERGY).sum(-1).float() + 1,
            "cosine": torch.cosine_similarity(x, x.mean(-2, keepdim=True), dim=-1).mean(-1)}


def no_direction(rows: int, width: int) -> dict[str, float]:
    """What independent normal rows give: the edge of the Marchenko-Pastur law, and what a row itself adds to the mean."""
    return {"energy": (1 + (width / rows) ** 0.5) ** 2 / width, "cosine": rows**-0.5}
