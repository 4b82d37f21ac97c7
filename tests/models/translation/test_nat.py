"""One pass, a beam of lengths, refinement: as Mask-Predict has them."""

from __future__ import annotations

import pytest
import torch

from paceline.errors import RequestError, ShapeError
from paceline.models.translation.config import MASK, PAD, TranslationConfig
from paceline.models.translation.mask_predict import collapsed, mask_predict, refine
from paceline.models.translation.nat import Nat

SOURCE = torch.tensor([[5, 6, 7, 8, 9], [9, 8, PAD, PAD, PAD]])


@pytest.fixture(params=[True, False], ids=["pre", "post"])
def model(request) -> Nat:
    torch.manual_seed(0)
    config = TranslationConfig(vocabulary=20, width=16, heads=2, ffn=24, layers=2, decoder_layers=2, longest=12,
                               pre_norm=request.param)
    model = Nat(config).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_every_place_sees_every_other_but_no_padding(model: Nat) -> None:
    target = torch.full((2, 6), MASK)
    logits, lengths = model(SOURCE, target)
    assert logits.shape == (2, 6, 20) and torch.allclose(lengths.exp().sum(1), torch.ones(2).double())
    assert (lengths[:, 0] == -torch.inf).all()
    other = target.clone()
    other[:, 5] = 7
    assert ((model(SOURCE, other)[0] - logits).abs().amax(2) > 1e-6).all()
    short, its_lengths = model(SOURCE[1:, :2], target[1:, :4])
    padded = torch.cat([target[:, :4], torch.zeros(2, 2, dtype=torch.long)], 1)
    assert torch.allclose(model(SOURCE, padded)[0][1, :4], short[0], atol=1e-12) and torch.allclose(lengths[1:], its_lengths)


def test_one_iteration_is_one_pass_and_known_lengths_are_kept(model: Nat) -> None:
    sizes = torch.tensor([4, 2])
    found = mask_predict(model, SOURCE, sizes=sizes)
    assert [[len(c.tokens) for c in some] for some in found] == [[4], [2]]
    logits = model(SOURCE[:1], torch.full((1, 4), MASK))[0][0, :, 4:]
    assert found[0][0].tokens == (logits.argmax(-1) + 4).tolist()
    assert found[0][0].score == pytest.approx(logits.log_softmax(-1).max(-1).values.mean().item(), abs=1e-5)


def test_the_beam_holds_the_likeliest_lengths_each_as_if_alone(model: Nat) -> None:
    found = mask_predict(model, SOURCE, beam=3, iterations=2)
    likely = model.read(SOURCE)[1].topk(3).indices
    for row, some in enumerate(found):
        assert sorted(len(c.tokens) for c in some) == sorted(likely[row].tolist())
        assert [c.score for c in some] == sorted((c.score for c in some), reverse=True)
        for one in some:
            (alone,), = mask_predict(model, SOURCE[row : row + 1], iterations=2, sizes=torch.tensor([len(one.tokens)]))
            assert alone.tokens == one.tokens
    assert len(mask_predict(model, SOURCE, beam=99)[0]) == 12


def test_refinement_masks_fewer_and_fewer_and_leaves_the_rest(model: Nat, monkeypatch: pytest.MonkeyPatch) -> None:
    fed, decode = [], model.decode
    monkeypatch.setattr(model, "decode", lambda target, source: fed.append(target) or decode(target, source))
    refine(model, model.read(SOURCE)[0], torch.tensor([10, 3]), 4)
    assert [(tokens == MASK).sum(1).tolist() for tokens in fed] == [[10, 3], [7, 2], [5, 1], [2, 1]]
    for before, after in zip(fed[1:], fed[2:], strict=False):
        both = (before != MASK) & (after != MASK)
        assert torch.equal(before[both], after[both])


def test_what_cannot_be_asked(model: Nat) -> None:
    with pytest.raises(RequestError, match="beam of at least 1, found 0"):
        mask_predict(model, SOURCE, beam=0)
    with pytest.raises(RequestError, match="at least 1 iteration, found 0"):
        mask_predict(model, SOURCE, iterations=0)
    with pytest.raises(ShapeError, match="12 tokens a sentence; found 13"):
        model(torch.full((1, 14), 5), torch.full((1, 2), MASK))
    assert collapsed([5, 5, 6, 5, 5]) == [5, 6, 5]


def test_a_model_comes_back_from_its_folder(model: Nat, tmp_path) -> None:
    model.save_pretrained(tmp_path)
    again = Nat.from_pretrained(tmp_path, dtype=torch.float64).eval()
    assert torch.equal(model.read(SOURCE)[1], again.read(SOURCE)[1])
