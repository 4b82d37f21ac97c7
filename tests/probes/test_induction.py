"""Induction scores on constructed attention."""

from __future__ import annotations

import torch

from paceline import probe
from paceline.probes.induction import looked_for
from paceline.testing import tiny_model


def test_which_key_counts() -> None:
    keys = {kind: found.tolist() for kind, found in looked_for(torch.tensor([4, 5, 4, 4, 6, 5])).items()}
    assert keys["duplicate"] == [-1, -1, 0, -1, -1, 1]  # the token just before a query is no earlier occurrence
    assert keys["induction"] == [-1, -1, 1, -1, -1, 2]
    assert keys["previous"] == [-1, 0, 1, 2, 3, 4]


def test_scores_equal_dense_ones(monkeypatch) -> None:
    monkeypatch.setattr("paceline.lm.rows.BLOCK", 1)
    model, tokens = tiny_model(), torch.randint(3, 259, (1, 12), generator=torch.Generator().manual_seed(0)).repeat(1, 2)
    values = probe(model, "induction", tokens)[0].values
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = torch.stack(model(tokens, output_attentions=True).attentions, 1)[0]
    for kind, lag, first in (("induction", 11, 12), ("duplicate", 12, 12), ("previous", 1, 1)):
        expected = maps.diagonal(-lag, 2, 3)[..., first - lag :].mean(-1)
        torch.testing.assert_close(values[kind].mean, expected, atol=1e-5, rtol=0)
        null = torch.tensor([1 / (t + 1) for t in range(first, 24)]).mean()
        torch.testing.assert_close(values[kind].null, null.expand(3, 1))


def test_texts_without_repetition_have_no_figure() -> None:
    values = probe(tiny_model(), "induction", [list(range(9))])[0].values
    assert values["induction"].mean.isnan().all() and not values["previous"].mean.isnan().any()
