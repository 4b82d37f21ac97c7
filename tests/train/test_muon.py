"""Muon against the reference optimisers, and Newton-Schulz against the singular values it promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paceline.errors import ShapeError
from paceline.testing import tiny_lm
from paceline.train.muon import Muon, orthogonalise, partition

SHAPES = [(24, 24), (48, 16), (16, 48), (24, 24)]


def twins(shapes: list[tuple[int, ...]]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    torch.manual_seed(0)
    values = [torch.randn(shape) for shape in shapes]
    return [nn.Parameter(v.clone()) for v in values], [nn.Parameter(v.clone()) for v in values]


def give_gradients(*groups: list[nn.Parameter]) -> None:
    for same in zip(*groups, strict=True):
        gradient = torch.randn_like(same[0])
        for p in same:
            p.grad = gradient.clone()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_matches_torch_muon_step_by_step(decay: float) -> None:
    ours, theirs = twins(SHAPES)
    mine = Muon(ours, lr=0.02, weight_decay=decay)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=decay, momentum=0.95, nesterov=True)
    for _ in range(5):
        give_gradients(ours, theirs)
        mine.step()
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        # Both run Newton-Schulz in bf16, ours batched: the products round differently.
        torch.testing.assert_close(p, q, atol=5 * 0.02 * 0.02, rtol=0)


def test_the_comparison_would_notice_a_missing_scale() -> None:
    ours, theirs = twins([(48, 16)])
    mine, reference = Muon(ours, lr=0.02 / 3**0.5), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.0)
    give_gradients(ours, theirs)
    mine.step()
    reference.step()
    assert (ours[0] - theirs[0]).abs().max() > 2e-3


def test_other_parameters_follow_adamw() -> None:
    ours, theirs = twins([(7,), (5, 3)])
    mine = Muon([], ours, others_lr=3e-3, weight_decay=0.1)
    reference = torch.optim.AdamW(theirs, lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for _ in range(5):
        give_gradients(ours, theirs)
        mine.step()
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)


def test_of_a_sparse_gradient_only_its_rows_move_as_sparse_adam_moves_them() -> None:
    ours, theirs = twins([(6, 3)])
    mine = Muon([], ours, others_lr=3e-3)
    reference = torch.optim.SparseAdam(theirs, lr=3e-3, betas=(0.9, 0.95), eps=1e-8)
    start = ours[0].detach().clone()
    for rows in ([0, 2], [2, 4], [2, 2]):
        for p in (*ours, *theirs):
            values = torch.ones(2, 3) * (1 + rows[1])
            p.grad = torch.sparse_coo_tensor(torch.tensor([rows]), values, (6, 3), check_invariants=True)
        mine.step()
        reference.step()
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-6, rtol=1e-5)
    assert torch.equal(ours[0][[1, 3, 5]], start[[1, 3, 5]]) and (ours[0][[0, 2, 4]] != start[[0, 2, 4]]).all()


@pytest.mark.parametrize("shape", [(2, 32, 32), (2, 64, 24), (2, 24, 64)])
def test_singular_values_become_about_equal(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape), dtype=torch.float32))
    # A square random matrix has singular values near zero, which five steps lift only in part.
    lowest = values.min() if shape[1] != shape[2] else values.median()
    assert lowest > 0.5 and values.max() < 1.3


def test_orthogonalise_ignores_scale_and_commutes_with_transposing() -> None:
    torch.manual_seed(2)
    x = torch.randn(3, 20, 12)
    plain = orthogonalise(x, dtype=torch.float32)
    torch.testing.assert_close(orthogonalise(1e3 * x, dtype=torch.float32), plain, atol=1e-4, rtol=0)
    torch.testing.assert_close(orthogonalise(x.mT, dtype=torch.float32), plain.mT, atol=1e-4, rtol=0)


def test_a_zero_matrix_stays_zero() -> None:
    assert orthogonalise(torch.zeros(1, 6, 4)).abs().max() == 0


def test_every_parameter_has_one_place() -> None:
    model = tiny_lm("llama").model
    hidden, others = partition(model)
    assert {id(p) for p in hidden} | {id(p) for p in others} == {id(p) for p in model.parameters()}
    assert not {id(p) for p in hidden} & {id(p) for p in others}
    assert all(p.ndim == 2 for p in hidden)
    outer = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    assert outer <= {id(p) for p in others}


def test_a_schedule_scales_both_rates() -> None:
    (matrix,), (vector,) = twins([(4, 4)])[0], twins([(4,)])[0]
    optimizer = Muon([matrix], [vector], lr=0.02, others_lr=1e-3)
    optimizer.set_factor(0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 5e-4]


def test_a_vector_is_refused() -> None:
    with pytest.raises(ShapeError, match="2-D"):
        Muon([nn.Parameter(torch.zeros(3))])
