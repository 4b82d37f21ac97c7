"""Sink figures on constructed attention, against a dense reference, and where theory says what they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paceline import PacelineError, probe
from paceline.lm.trace import Seen
from paceline.probes.sinks import Sinks, SinksWatch, lookers, pooled, uniform
from paceline.testing import tiny_model

T = 16
LOWER = torch.ones(T, T).tril()
UNIFORM = LOWER / LOWER.sum(1, keepdim=True)
FIRST = torch.eye(T)[:1].expand(T, T)


def shown(maps: torch.Tensor, blocks: int = 5, value: torch.Tensor | None = None, window: int | None = None) -> Any:
    """The reading of texts given as attention maps [texts, H, T, T] of one layer, in blocks of rows."""
    watch = SinksWatch(Sinks(length=T, first=T))
    for text, probs in enumerate(maps):
        v = torch.ones(1, T, 2) if value is None else value
        seen = Seen(0, text, torch.zeros(T), torch.zeros(maps.shape[1], T, 2), torch.zeros(1, T, 2), v, 1.0, window, None, None,
                    torch.arange(T), None, torch.ones(T, 3), None)  # fmt: skip
        for start in range(0, T, blocks):
            stop = min(T, start + blocks)
            watch.rows(seen, start, probs[:, start:stop, :stop])
    return watch.reading().values


def test_known_maps() -> None:
    """All on the first key; each query on itself; uniform rows, which are their own null level."""
    values = shown(torch.stack([FIRST, torch.eye(T), UNIFORM])[None])
    alpha = values["alpha"].mean[0]
    torch.testing.assert_close(alpha[0], torch.eye(T)[0])
    torch.testing.assert_close(alpha[1], 1 / torch.arange(T, 0, -1).float())
    torch.testing.assert_close(alpha[2], values["alpha"].null[0, 0])
    assert alpha[2, 0] == pytest.approx(sum(1 / t for t in range(1, T + 1)) / T) and alpha[0, 0] == 1
    torch.testing.assert_close((alpha * lookers(T)).sum(1), torch.full((3,), float(T)))  # what queries give is what keys get


def test_threshold_first_then_mean() -> None:
    """Two texts, a sink in one of them: half of Sink_1, though the mean attention over both is above the threshold."""
    values = shown(torch.stack([FIRST[None], torch.eye(T)[None]]))
    assert values["total"].mean[0] == 0.5 and pooled(values["alpha"].each, 0.3)[0] == 1


def test_what_a_sink_writes() -> None:
    """Its share of attention, times its value's norm."""
    value = torch.ones(1, T, 2)
    value[:, 0] *= 0.01
    half = 0.5 * FIRST + 0.5 * torch.eye(T)
    values = shown(half[None, None], value=value)
    got = torch.tensor([T + 1.0, *[1.0] * (T - 1)]) / 2
    assert values["share"].mean[0, 0] == pytest.approx(got[0] / T) and values["position"].mean[0] == 0
    assert values["written"].mean[0, 0] == pytest.approx(0.01 * got[0] / (0.01 * got[0] + got[1:].sum()))


def test_attention_that_no_key_gets() -> None:
    assert shown((FIRST * 0.25)[None, None])["outside"].mean[0, 0] == 0.75


@pytest.mark.parametrize("window", [1, 5, T, 40])
def test_uniform_rows_of_a_window(window: int) -> None:
    seen = LOWER - LOWER.tril(-window)
    expected = (seen / seen.sum(1, keepdim=True)).sum(0) / seen.sum(0)
    torch.testing.assert_close(uniform(T, window), expected)
    torch.testing.assert_close(lookers(T, window), seen.sum(0))
    values = shown((seen / seen.sum(1, keepdim=True))[None, None], window=window)
    torch.testing.assert_close(values["share"].mean, values["share"].null, atol=1e-5, rtol=0)
    torch.testing.assert_close(values["alpha"].mean, values["alpha"].null, atol=1e-5, rtol=0)


def test_streamed_equals_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model, in blocks of eight rows."""
    monkeypatch.setattr("paceline.lm.rows.BLOCK", 1)
    model, tokens = tiny_model(), torch.randint(3, 259, (3, 40), generator=torch.Generator().manual_seed(0))
    values = probe(model, "sinks:eps=0.1,length=32,first=32", tokens)[0].values
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = torch.stack(model(tokens[:, :32], output_attentions=True).attentions, 1)  # [texts, layers, H, T, T]
    alpha = maps.sum(3) / torch.arange(32, 0, -1)
    torch.testing.assert_close(values["alpha"].each, alpha, atol=1e-5, rtol=0)
    torch.testing.assert_close(values["total"].mean, (alpha > 0.1).float().mean((0, 1, 2)))


def test_one_token_repeated_has_no_sink() -> None:
    """With rotary positions all tokens are alike in every layer; positions that are added to the input tell them apart."""
    rope, learned = (probe(tiny_model(family), "sinks:length=32,eps=0.2", [[7] * 32])[0].values for family in ("llama", "gpt2"))
    torch.testing.assert_close(rope["massive"].mean, torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(rope["written"].mean, rope["share"].mean, atol=1e-4, rtol=0)  # equal values: a mean of them
    assert (learned["massive"].mean - 1).abs().max() > 0.01


def test_short_texts_are_left_out_and_told() -> None:
    reading = probe(tiny_model(), "sinks:length=16", [[5] * 8, [6] * 20])[0]
    assert reading.texts == 1 and reading.notes == ("Shorter than 16 tokens and left out: 1 of 2 texts.",)
    with pytest.raises(PacelineError, match="at least 16 tokens; found 1 shorter"):
        probe(tiny_model(), "sinks:length=16", [[5] * 8])
    with pytest.raises(PacelineError, match="0 < eps < 1"):
        Sinks(eps=1.5)
