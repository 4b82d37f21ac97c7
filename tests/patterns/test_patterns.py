"""Every pattern is causal and keeps what may still be seen: what it lets go never comes back and is never visible again."""

from __future__ import annotations

import pytest
import torch

from paceline import plugins
from paceline.patterns.markov import shared

LONGEST = 40


def made(name: str) -> list:
    windows = [f"sliding:window={n},sinks={s},since={first}" for n, s, first in
               ((1, 0, 0), (7, 0, 0), (64, 0, 0), (1, 3, 0), (7, 4, 0), (7, 4, 20), (3, 0, 11))]
    specs = {"sliding": windows, "markov": [f"markov:order={order}" for order in (0, 1, 7)]}
    return [plugins.make("pattern", spec) for spec in specs.get(name, [name])]


@pytest.mark.parametrize("pattern", [p for name in plugins.names("pattern") for p in made(name)], ids=str)
def test_what_is_let_go_is_never_seen_again(pattern) -> None:
    held: set[int] = set()
    for length in range(LONGEST):
        sinks, start = pattern.keep(length)
        assert sinks <= start
        kept = {k for k in range(length) if k < sinks or k >= start}
        assert kept <= held
        held = kept | {length}
        assert all(k in held for k in range(LONGEST) if pattern.visible(length, k))
    places = torch.arange(LONGEST)
    seen = pattern.visible(places[:, None], places)
    assert seen.tolist() == [[bool(pattern.visible(q, k)) for k in range(LONGEST)] for q in range(LONGEST)]
    assert seen.diagonal().all() and not seen.triu(1).any()


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_layers_that_share_an_order_reach_it_together(order: int) -> None:
    windows = [pattern.order for pattern in shared(order, 4)]
    assert sum(window - 1 for window in windows) + 1 == order and max(windows) - min(windows) <= 1
    assert [pattern.order for pattern in shared(0, 4)] == [0] * 4
