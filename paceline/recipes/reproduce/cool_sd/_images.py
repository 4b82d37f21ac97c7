"""What judges drawn digits: a small classifier of the real ones, its accuracy on drawn ones, and distances in its features."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from paceline.data.digits import CLASSES, LEVELS, PIXELS, Images, augmented

__all__ = ["Judge", "frechet"]

FEATURES = 32


class Judge:
    """A classifier 64 → 64 → 32 → 10 trained on real images, each class as often as it comes, moved by up to a pixel.

    ``features`` [N, 32] are its last hidden layer's: the proxy for the Inception features of the usual FID.
    """

    def __init__(self, images: Images, steps: int = 1500, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(PIXELS, 64), nn.GELU(), nn.Linear(64, FEATURES), nn.GELU())
        self.head = nn.Linear(FEATURES, CLASSES)
        weights = [*self.body.parameters(), *self.head.parameters()]
        optimizer, rng = torch.optim.AdamW(weights, lr=2e-3, weight_decay=1e-2), np.random.default_rng(seed)
        for _ in range(steps):
            batch = augmented(images.pick(rng.integers(0, len(images), 128)), rng)
            logits = self.head(self.body(inputs(batch)))
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, torch.from_numpy(batch.classes)).backward()
            optimizer.step()

    @torch.inference_mode()
    def features(self, images: Images) -> np.ndarray:
        return self.body(inputs(images)).double().numpy()

    @torch.inference_mode()
    def accuracy(self, images: Images) -> float:
        """Share of the images that are taken for what they were asked to be."""
        return float((self.head(self.body(inputs(images))).argmax(-1).numpy() == images.classes).mean())


def inputs(images: Images) -> torch.Tensor:
    return torch.from_numpy(images.pixels).float() / (LEVELS - 1)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of two sets of features [N, D], taken as normal: |m_a - m_b|² + tr(S_a + S_b - 2 (S_a S_b)^½).

    Source: Heusel et al. (arXiv 1706.08500), equation 6; the trace of the root is that of (S_a^½ S_b S_a^½)^½.
    """
    spread = [np.cov(x, rowvar=False) for x in (a, b)]
    half = root(spread[0])
    apart = a.mean(0) - b.mean(0)
    return float(apart @ apart + np.trace(spread[0]) + np.trace(spread[1]) - 2 * np.trace(root(half @ spread[1] @ half)))


def root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
