"""Spectra: the values of matrices that are known, what must not change them, and a model's matrices by role."""

from __future__ import annotations

import pytest
import torch

import paceline
from paceline.errors import ModelError
from paceline.lm.trace import of_decoder, subject
from paceline.probes._matrices import ROLES, matrices
from paceline.probes.spectra import energies, product_energies, spectrum
from tests.tiny import shared_lm


def of(weight: torch.Tensor, top: int = 3) -> list[float]:
    return spectrum(energies(weight), top, max(weight.shape)).tolist()


def orthonormal(rows: int, columns: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(rows, columns))[0]


def test_matrices_whose_spectrum_is_known() -> None:
    assert of(orthonormal(40, 12)) == pytest.approx([1, 12, 3 / 12, 1], rel=1e-5)
    assert of(torch.outer(torch.randn(12), torch.randn(40))) == pytest.approx([0, 1, 1, 1], abs=1e-6)
    twice = orthonormal(40, 12)[:, :2] @ orthonormal(30, 12)[:, :2].T  # two directions, and 28 zeros that do not count
    assert of(twice, top=1) == pytest.approx([1, 2, 1 / 2, 1], rel=1e-5)
    assert all(map(torch.isnan, spectrum(energies(torch.zeros(4, 8)), 3, 8)))


def test_scale_rotation_and_transposition_change_nothing() -> None:
    weight = torch.randn(24, 50) @ torch.diag(torch.linspace(0.1, 3, 50))
    turned = orthonormal(24, 24) @ (-70 * weight) @ orthonormal(50, 50)
    assert of(turned) == pytest.approx(of(weight), rel=1e-4) and of(weight.T) == pytest.approx(of(weight), rel=1e-9)


def test_energies_are_squared_singular_values_also_of_products_that_are_never_made() -> None:
    left, right = torch.randn(2, 30, 6).double(), torch.randn(2, 6, 40).double()
    torch.testing.assert_close(energies(left), torch.linalg.svdvals(left).flip(-1) ** 2)
    torch.testing.assert_close(product_energies(left, right), torch.linalg.svdvals(left @ right)[:, :6].flip(-1) ** 2)


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_a_decoder_is_taken_apart_as_its_module_is(family: str) -> None:
    lm = shared_lm(family)
    file = of_decoder(lm.source, lm.source.decoder(lm.context)[0])  # as of a GGUF file
    for mine, other in zip(matrices(file), matrices(subject(lm)), strict=True):
        assert tuple(mine) == ROLES and mine.keys() == other.keys()
        assert all(torch.equal(mine[role], other[role]) for role in ROLES)
    if family == "llama":
        at, mlp = lm.model.model.layers[-1].self_attn, lm.model.model.layers[-1].mlp
        modules = (at.q_proj, at.k_proj, at.v_proj, at.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        assert all(torch.equal(weight, module.weight) for weight, module in zip(mine.values(), modules, strict=True))


def test_other_models_are_taken_apart_by_the_names_of_their_linears() -> None:
    neox, x = shared_lm("gpt_neox"), torch.randn(64)
    each = next(matrices(subject(neox)))
    fused = neox.model.gpt_neox.layers[0].attention.query_key_value
    theirs = (fused(x) - fused.bias).view(4, 48).split(16, -1)  # as transformers cuts it
    for role, part in zip("qkv", theirs, strict=True):
        torch.testing.assert_close(each[role] @ x, part.flatten(), atol=1e-5, rtol=1e-4)
    assert set(each) == {"q", "k", "v", "o", "up", "down"}
    gpt2 = next(matrices(subject(shared_lm("gpt2"))))
    assert {role: tuple(weight.shape) for role, weight in gpt2.items()} == {
        "q": (64, 64), "k": (64, 64), "v": (64, 64), "o": (64, 64), "up": (256, 64), "down": (64, 256)}  # fmt: skip
    attention = shared_lm("gpt2").model.transformer.h[0].attn.c_attn
    assert torch.equal(gpt2["k"].T, attention.weight[:, 64:128])


def test_random_matrices_lie_at_the_null_level() -> None:
    (found,) = paceline.probe(shared_lm(), "spectra", [[1, 2]])
    entropy = found.values["entropy"]
    assert entropy.each.shape == (1, 3, 9) and list(entropy.ticks["role"]) == [*ROLES, "qk", "vo"]
    assert (entropy.mean - entropy.null).abs().max() < 0.02 and entropy.mean.max() < 1


def test_linears_of_unknown_names_are_told() -> None:
    strange = subject(shared_lm("gpt2"))
    strange.module = torch.nn.ModuleDict({"h": torch.nn.ModuleList([torch.nn.Linear(2, 2)])})
    with pytest.raises(ModelError, match="q_proj or down_proj"):
        next(matrices(strange))
    strange.module = torch.nn.ModuleDict({"h": torch.nn.ModuleList([torch.nn.ModuleDict({"attn": torch.nn.ModuleDict(
        {"query_key_value": torch.nn.Linear(64, 70)})})])})
    with pytest.raises(ModelError, match="192 outputs .* found 70"):
        next(matrices(strange))
