"""EXAM: what the interaction, the shared MLP and the encoders promise, each by a computation of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from paceline.errors import RequestError, ShapeError
from paceline.models.exam.config import AGGREGATORS, ExamConfig
from paceline.models.exam.encoders import Region
from paceline.models.exam.exam import Exam

N, C = 9, 5


def made(classes: int = C, multi: bool = False, **settings: Any) -> Exam:
    torch.manual_seed(0)
    shape = {"width": 6, "words": 20, "buckets": 3, "length": N, "radius": 1, **settings}
    kind = f"{'multi' if multi else 'single'}_label_classification"
    model = Exam(ExamConfig(id2label={i: f"c{i}" for i in range(classes)}, problem_type=kind, **shape)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        for table in (model.encoder.words, getattr(model.encoder, "units", None)):
            if table is not None:
                table.weight[0] = 0
    return model


def batch(lengths: tuple[int, ...] = (6, 3, 6)) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.randint(1, 24, (len(lengths), max(lengths))) * mask, mask


def test_with_the_average_it_is_fasttext_and_with_the_sum_the_residual_branch() -> None:
    ids, mask = batch()
    model = made(aggregator="mean", class_bias=True)
    with torch.no_grad():
        pooled = model.encoder(ids, mask).masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True)
        linear = pooled @ model.classes.T + model.class_bias
        torch.testing.assert_close(model(ids, mask).logits, linear, atol=1e-6, rtol=1e-5)
        plain, residual, alone = made(), made(residual=True), made(aggregator="sum")
        alone.load_state_dict({k: v for k, v in plain.state_dict().items() if "aggregator" not in k})
        residual.load_state_dict(plain.state_dict())
        torch.testing.assert_close(residual(ids, mask).logits - plain(ids, mask).logits, alone(ids, mask).logits)


def test_max_pool_is_a_linear_layer_over_the_maximum() -> None:
    ids, mask = batch()
    model = made(aggregator="max_pool", class_bias=True)
    with torch.no_grad():
        best = model.encoder(ids, mask).masked_fill(~mask[..., None], -torch.inf).amax(1)
        torch.testing.assert_close(model(ids, mask).logits, best @ model.classes.T + model.class_bias)


def test_the_interaction_and_the_mlp_as_printed() -> None:
    ids, mask = batch((6,))
    model = made()
    with torch.no_grad():
        hidden, known = model.encoder(ids, mask)[0], model.aggregator
        for s in range(C):
            row = torch.cat([torch.stack([model.classes[s] @ h for h in hidden]), torch.zeros(N - 6)])
            a = (known.first.weight @ row + known.first.bias).clamp_min(0)
            torch.testing.assert_close(model(ids, mask).logits[0, s], known.second.weight[0] @ a)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_classes_are_alike_to_the_aggregator(aggregator: str) -> None:
    """Permuted classes give permuted logits, a class added changes no other, chunks change nothing, and no class's vector has a
    gradient from another's logit."""
    ids, mask = batch()
    model, order = made(aggregator=aggregator, class_bias=True), torch.tensor([3, 0, 4, 1, 2])
    before = model(ids, mask).logits
    gradient = torch.autograd.grad(before[:, 2].sum(), model.classes)[0]
    assert gradient[2].abs().sum() > 0 and gradient[[0, 1, 3, 4]].abs().sum() == 0
    model.config.chunk = 2
    torch.testing.assert_close(model(ids, mask).logits, before)
    model.add_label("new", torch.ones(6))
    torch.testing.assert_close(model(ids, mask).logits[:, :C], before)
    assert model.config.labels[-1] == "new"
    with pytest.raises(RequestError, match="'new' already"):
        model.add_label("new", torch.ones(6))
    with torch.no_grad():
        model.classes[:C], model.class_bias[:C] = model.classes[order], model.class_bias[order]
    torch.testing.assert_close(model(ids, mask).logits[:, :C], before[:, order])


@pytest.mark.parametrize(("encoder", "settings"), [("region", {}), ("gru", {"layers": 2}), ("region", {"pad_left": True})])
def test_padding_and_what_lies_beyond_have_no_influence(encoder: str, settings: dict[str, Any]) -> None:
    ids, mask = batch()
    model = made(encoder=encoder, **settings)
    with torch.no_grad():
        alone = model(ids[1:2, :3], mask[1:2, :3]).logits
        torch.testing.assert_close(model(ids, mask).logits[1:2], alone)
    with pytest.raises(ShapeError, match="reads 9 words"):
        model(torch.ones(1, N + 1, dtype=torch.long), torch.ones(1, N + 1, dtype=torch.bool))


def test_the_codes_bias_leaks_from_padding_unless_it_is_masked() -> None:
    ids, mask = batch((3,))
    model = made(class_bias=True, residual=True)
    with torch.no_grad():
        model.aggregator.second.weight.zero_()
        sums = torch.einsum("bnk,ck->bc", model.encoder(ids, mask), model.classes)
        torch.testing.assert_close(model(ids, mask).logits, sums + 3 * model.class_bias)
        model.config.mask_bias = False
        torch.testing.assert_close(model(ids, mask).logits, sums + N * model.class_bias)


def test_a_region_embedding_is_its_double_loop_and_sees_its_radius() -> None:
    config = ExamConfig(width=4, words=20, buckets=3, radius=2)
    torch.manual_seed(2)
    region, (ids, mask) = Region(config), batch((7,))
    with torch.no_grad():
        whole = region(ids, mask)[0]
        for i in range(7):
            own = region.units(ids[0, i]).unflatten(-1, (4, 5))
            each = [own[:, t + 2] * (region.words(ids[0, i + t]) if 0 <= i + t < 7 else 0) for t in range(-2, 3)]
            torch.testing.assert_close(whole[i], torch.stack(each).amax(0))
        other = ids.clone()
        other[0, 3] = 1 + ids[0, 3] % 20
        moved = (region(other, mask)[0] - whole).abs().sum(-1) > 0
        assert moved[3] and not moved[[0, 6]].any()
        narrow = Region(ExamConfig(width=4, words=20, buckets=3, radius=0))
        torch.testing.assert_close(narrow(ids, mask), narrow.units(ids) * narrow.words(ids))


def test_only_the_mlp_knows_places() -> None:
    ids, mask = batch((6,))
    swapped = ids[:, [4, 1, 2, 3, 0, 5]]
    for aggregator, same in [("mlp", False), *((name, True) for name in AGGREGATORS if name != "mlp")]:
        model = made(aggregator=aggregator, radius=0)
        with torch.no_grad():
            assert torch.allclose(model(ids, mask).logits, model(swapped, mask).logits, atol=1e-5) == same, aggregator


def test_losses_are_cross_entropy_and_the_sum_over_classes_of_the_binary_one() -> None:
    ids, mask = batch()
    one, several = made(), made(multi=True)
    numbers, many = torch.tensor([1, 0, 4]), (torch.arange(15).reshape(3, 5) % 2).float()
    with torch.no_grad():
        torch.testing.assert_close(one(ids, mask, numbers).loss, cross_entropy(one(ids, mask).logits, numbers))
        each = binary_cross_entropy_with_logits(several(ids, mask).logits, many, reduction="none")
        torch.testing.assert_close(several(ids, mask, many).loss, each.sum(1).mean())


@pytest.mark.parametrize("aggregator", [name for name in AGGREGATORS if name not in ("logsumexp", "attention")])
def test_words_and_biases_add_up_to_the_logit(aggregator: str) -> None:
    """And a part is what it says: without its word's score the logit falls by it, where the aggregator is linear."""
    ids, mask = batch()
    model = made(aggregator=aggregator, class_bias=True, residual=aggregator == "mlp")
    found = model.evidence(ids, mask)
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model(ids, mask).logits)
    torch.testing.assert_close(found.parts.sum(-1) + found.rest, found.logits)
    assert found.parts.shape == (3, C, 6) and found.parts[1, :, 3:].abs().sum() == 0
    if aggregator in ("mean", "sum", "max", "top", "max_pool"):
        share = model.class_bias.expand_as(found.rest) * (mask.sum(1, keepdim=True) if aggregator == "sum" else 1)
        torch.testing.assert_close(found.rest, share.detach(), atol=1e-5, rtol=1e-4)


def test_aggregators_without_places_by_hand() -> None:
    scores, mask = torch.tensor([[[3.0, 1.0, 2.0, 99.0]]]), torch.tensor([[True, True, True, False]])
    wanted = {"mean": 2.0, "sum": 6.0, "max": 3.0, "top": 2.5, "logsumexp": float(scores[..., :3].exp().mean().log()),
              "attention": float((scores[..., :3].softmax(-1) * scores[..., :3]).sum())}  # fmt: skip
    for name, value in wanted.items():
        torch.manual_seed(0)
        rule = Exam(ExamConfig(id2label={0: "a", 1: "b"}, aggregator=name, top=2, length=4)).aggregator
        assert float(rule(scores, mask).detach()) == pytest.approx(value), name


def test_bad_settings() -> None:
    with pytest.raises(RequestError, match="no aggregator 'maxpool'. Did you mean 'max_pool'"):
        ExamConfig(aggregator="maxpool")
    with pytest.raises(RequestError, match="length of at least 1, found 0"):
        ExamConfig(length=0)
