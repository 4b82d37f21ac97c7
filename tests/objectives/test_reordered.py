"""What holds for every order-agnostic objective: padding, dropped terms, mixing, smoothing, gradients, odd numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from paceline import ShapeError, SpecError, plugins
from paceline.objectives.ngram_oaxe import VARIANTS, NgramOaxe
from paceline.objectives.oaxe import Oaxe
from tests.sentences import sentences, xe

Make = Callable[..., Any]
MAKERS = {"oaxe": Oaxe} | {variant: partial(NgramOaxe, variant=variant) for variant in VARIANTS}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@every
def test_sentences_do_not_see_each_other_nor_padding(make: Make) -> None:
    logits, target = sentences(7, 4, 0, 5)
    objective = make(margin=0.05, smoothing=0.1, mix=0.3)
    whole = objective(logits, target)
    alone = [objective(logits[i : i + 1, :n], target[i : i + 1, :n]) for i, n in enumerate((7, 4, 0, 5))]
    assert whole.total.item() == pytest.approx(sum(loss.total.item() for loss in alone), abs=1e-9)
    assert whole.parts == pytest.approx({key: sum(loss.parts[key] for loss in alone) for key in whole.parts}, abs=1e-5)
    longer = torch.nn.functional.pad(logits, (0, 0, 0, 3), value=3.0), torch.nn.functional.pad(target, (0, 3), value=-1)
    assert objective(*longer).total.item() == pytest.approx(whole.total.item(), abs=1e-9)


@every
def test_a_margin_only_drops(make: Make) -> None:
    losses = [make(margin=margin)(*sentences(7, 4, 6)) for margin in (0.0, 0.01, 0.05, 0.2, 0.5, 0.9)]
    kept, totals = [loss.parts["kept"] for loss in losses], [loss.total.item() for loss in losses]
    assert kept[0] == pytest.approx(17) and kept == sorted(kept, reverse=True) and kept[-1] < kept[0]
    assert totals == sorted(totals, reverse=True)


@every
def test_nothing_kept_is_a_loss_of_zero_with_no_gradient(make: Make) -> None:
    logits, target = torch.zeros(2, 4, 12, requires_grad=True), sentences(4, 3)[1]
    loss = make(margin=0.5)(logits, target)
    loss.total.backward()
    assert loss.total.item() == loss.parts["kept"] == 0 and logits.grad is not None and not logits.grad.any()


@every
def test_mixing_is_linear_and_ends_in_cross_entropy(make: Make) -> None:
    logits, target = sentences(7, 4)
    plain, free = xe(logits, target).total.item(), make(margin=0.05)(logits, target).total.item()
    for mix in (0.0, 0.25, 1.0):
        mixed = make(margin=0.05, mix=mix)(logits, target).total.item()
        assert mixed == pytest.approx(mix * plain + (1 - mix) * free, abs=1e-5)


@every
def test_smoothing_is_that_of_torch(make: Make) -> None:
    logits, target = sentences(7, 4)
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="sum", label_smoothing=0.1)
    assert make(mix=1.0, smoothing=0.1)(logits, target).total.item() == pytest.approx(expected.item(), abs=1e-9)


@every
def test_the_gradient_is_that_of_finite_differences(make: Make) -> None:
    logits, target = sentences(4, 3, vocab=6)
    objective = make(mix=0.2, smoothing=0.1)
    assert torch.autograd.gradcheck(lambda given: objective(given, target).total, logits.requires_grad_())


@every
def test_equal_tokens_may_change_places_at_no_cost(make: Make) -> None:
    logits, _ = sentences(6)
    target = torch.tensor([[3, 3, 5, 3, 3, 5]])
    assert make()(logits, target).total.item() == pytest.approx(make()(logits, target[:, [1, 0, 2, 4, 3, 5]]).total.item())


@every
def test_half_precision_is_matched_in_single(make: Make) -> None:
    logits, target = sentences(7, 4)
    half = logits.bfloat16()
    assert make()(half, target).total.item() == make()(half.float(), target).total.item()


@every
def test_of_several_references_the_cheapest_counts(make: Make) -> None:
    logits, target = sentences(6, 4)
    other = torch.randint(0, 12, (2, 6), generator=torch.Generator().manual_seed(1)).where(target >= 0, -100)
    none = torch.full_like(target, -100)
    for mix in (0.0, 0.5, 1.0):
        objective = make(mix=mix)
        row = lambda t, i: objective(logits[i : i + 1], t[i : i + 1]).total.item()  # noqa: B023, E731
        best = sum(min(row(target, i), row(other, i)) for i in range(2))
        assert objective(logits, torch.stack([none, other, target], 1)).total.item() == pytest.approx(best, abs=1e-9)


@every
def test_impossible_tokens_are_avoided_where_they_can_be(make: Make) -> None:
    """A token that its own place excludes finds another; one that every place excludes costs without end, or is dropped."""
    logits, target = torch.zeros(1, 4, 6), torch.arange(4)[None]
    logits[0, 0, 0] = -torch.inf
    logits.requires_grad_()
    loss = make()(logits, target)
    (gradient,) = torch.autograd.grad(loss.total, logits)
    assert loss.total.isfinite() and gradient.isfinite().all()
    nowhere = logits.detach().clone()
    nowhere[..., 0] = -torch.inf
    assert make()(nowhere, target).total.isinf() and make(margin=0.01)(nowhere, target).total.isfinite()


@every
def test_a_model_that_diverged_shows(make: Make) -> None:
    logits, target = sentences(4)
    logits[0, 1] = torch.nan
    assert make(margin=0.1)(logits, target).total.isnan()


@pytest.mark.parametrize(("shape", "target", "problem"), [
    ((4, 6), torch.zeros(4, dtype=torch.long), "logits .B, T, V."),
    ((1, 4, 6), torch.zeros(1, 5, dtype=torch.long), r"found \(1, 4, 6\) and \(1, 5\)"),
    ((1, 4, 6), torch.tensor([[1, -100, 2, -100]]), "sentence's end only"),
    ((1, 4, 6), torch.tensor([[-100, 1, 2, 3]]), "sentence's end only"),
    ((1, 4, 6), torch.tensor([[[1, 2, 3, 4], [1, 2, 3, -1]]]), "different lengths"),
    ((1, 4, 6), torch.tensor([[1, 6, 2, 3]]), "below V = 6; found 6"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], target: torch.Tensor, problem: str) -> None:
    with pytest.raises(ShapeError, match=problem):
        Oaxe()(torch.zeros(shape), target)


def test_options_can_be_written_in_a_spec() -> None:
    assert plugins.make("objective", "oaxe:margin=0.15,compat=yes", mix=0.5) == Oaxe(margin=0.15, compat=True, mix=0.5)
    assert plugins.make("objective", "ngram_oaxe:n=3,variant=blocks") == NgramOaxe(n=3, variant="blocks")
    for wrong in ("oaxe:margin=1", "oaxe:mix=2", "oaxe:smoothing=1", "ngram_oaxe:variant=tiles"):
        with pytest.raises(SpecError):
            plugins.make("objective", wrong)


def test_the_page_runs_as_printed() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "translation-losses.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(compile(example, "example.py", "exec"), names)
    assert names["loss"].parts["matched"] < names["loss"].parts["xent"] and names["now"].mix == 0


@pytest.mark.gpu
@every
def test_a_gpu_finds_the_same(make: Make) -> None:
    logits, target = sentences(24, 17, 0, 1, 9)
    here, there = (make(margin=0.05)(logits.to(device), target.to(device)) for device in ("cpu", "cuda"))
    assert there.total.item() == pytest.approx(here.total.item(), abs=1e-3)
