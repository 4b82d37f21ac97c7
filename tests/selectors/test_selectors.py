"""Every selector scores keys; those that look find the keys that matter, those that do not keep what they say."""

from __future__ import annotations

import pytest
import torch

from paceline import plugins
from paceline.core.trace import Trace


def kept(name: str, n: int, count: int) -> list[int]:
    scores = plugins.make("selector", name)(Trace(), 0, torch.zeros(2, n, 4))
    return sorted(scores[0].topk(count).indices.tolist())


def test_topk_finds_the_keys_that_are_asked_for_head_by_head() -> None:
    keys, trace = torch.zeros(2, 50, 8), Trace()
    keys[0, 7, 0] = keys[1, 31, 0] = 10.0
    trace.add([torch.eye(8)[:1].expand(4, 1, 8)], [49])
    scores = plugins.make("selector", "topk")(trace, 0, keys)
    assert scores.argmax(1).tolist() == [7, 31] and torch.allclose(scores.sum(1), torch.full((2,), 2.0))


def test_streaming_keeps_the_sinks_and_the_last() -> None:
    assert kept("streaming", 20, 6) == [0, 1, 2, 3, 18, 19]
    assert kept("streaming:sinks=1", 20, 3) == [0, 18, 19]


@pytest.mark.parametrize(("n", "count"), [(64, 8), (100, 16), (1, 1), (7, 3)])
def test_uniform_is_spread_over_the_whole_text(n: int, count: int) -> None:
    places = kept("uniform", n, count)
    gaps = [b - a for a, b in zip(places, places[1:], strict=False)]
    assert places[0] == 0 and max(gaps, default=0) <= 2 * n / count + 1


def test_random_differs_between_layers_and_seeds_and_not_between_calls() -> None:
    keys = torch.zeros(2, 100, 4)

    def drawn(seed: int, layer: int) -> list[float]:
        return plugins.make("selector", f"random:seed={seed}")(Trace(), layer, keys)[0].tolist()

    assert len({tuple(drawn(seed, layer)) for seed in (0, 1) for layer in (0, 1)}) == 4
    assert drawn(0, 1) == plugins.make("selector", "random")(Trace(), 1, keys)[0].tolist()


@pytest.mark.parametrize("name", [n for n in plugins.names("selector") if not hasattr(plugins.load("selector", n), "select")])
def test_scores_have_the_shape_that_is_asked_for(name: str) -> None:
    trace = Trace()
    trace.add([torch.randn(4, 3, 8)], [10, 11, 29])
    scores = plugins.make("selector", name)(trace, 0, torch.randn(2, 30, 8))
    assert scores.shape[0] in (1, 2) and scores.shape[1] == 30 and bool(scores.isfinite().all())
