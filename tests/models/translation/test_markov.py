"""A model of order k depends on exactly k tokens, cached or not, and searches and scores by that."""

from __future__ import annotations

import itertools

import pytest
import torch

from paceline.errors import ModelError, RequestError, ShapeError
from paceline.models.translation.config import BOS, EOS, LEAK_FREE, PAD, TranslationConfig
from paceline.models.translation.markov import Markov
from paceline.models.translation.rescore import changed_scores, token_scores
from paceline.models.translation.search import beam, greedy

SOURCE = torch.tensor([[5, 6, 7, 8, 9], [9, 8, PAD, PAD, PAD]])
TARGET = torch.arange(4, 18).repeat(2, 1)
KEPT = [name for name in LEAK_FREE if name != "none"]


def made(leak_free: str = "transparent", order: int = 3, layers: int = 3, vocabulary: int = 20, **other) -> Markov:
    torch.manual_seed(0)
    config = TranslationConfig(vocabulary=vocabulary, width=16, heads=2, ffn=24, layers=1, decoder_layers=layers, longest=20,
                               order=order, leak_free=leak_free, **other)
    model = Markov(config).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def reach(model: Markov) -> set[int]:
    """Inputs, counted back from the last, on which the last logits depend: by exact gradients."""
    source = model.read(SOURCE)
    held: list[torch.Tensor] = []
    hook = model.body.target_norm.register_forward_hook(lambda module, x, out: held.append(out.requires_grad_()) or out)
    logits = model.decode(TARGET, model.start(source))
    hook.remove()
    (slope,) = torch.autograd.grad(logits[:, -1].square().sum(), held[0])
    return {TARGET.shape[1] - 1 - int(place) for place in slope.abs().sum((0, 2)).nonzero()}


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("leak_free", KEPT)
@pytest.mark.parametrize("order", [1, 3, 4])
def test_logits_depend_on_exactly_k_tokens(leak_free: str, order: int, pre_norm: bool) -> None:
    assert reach(made(leak_free, order, pre_norm=pre_norm)) == set(range(order))


def test_a_band_alone_reaches_further_with_each_layer() -> None:
    for layers in (1, 2, 4):
        model = made("none", 3, layers)
        assert reach(model) == set(range(layers * 2 + 1)) == set(range(model.horizon()))


@pytest.mark.parametrize("leak_free", KEPT)
def test_a_token_before_the_window_changes_nothing_and_one_at_its_edge_does(leak_free: str) -> None:
    model, other = made(leak_free), TARGET.clone()
    other[:, 5] = 4
    change = (model(SOURCE, TARGET) - model(SOURCE, other)).abs().amax((0, 2))
    assert (change[6:9] > 1e-6).all() and change[:6].max() < 1e-12 and change[9:].max() < 1e-12


@pytest.mark.parametrize("leak_free", LEAK_FREE)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_token_by_token_is_the_whole_in_constant_memory(leak_free: str, order: int) -> None:
    model = made(leak_free, order)
    whole, cache, sizes = model(SOURCE, TARGET)[:, :-1], model.start(model.read(SOURCE)), []
    inputs = torch.cat([torch.full((2, 1), BOS), TARGET], 1)
    for i in range(TARGET.shape[1]):
        assert torch.allclose(model.decode(inputs[:, i : i + 1], cache)[:, 0], whole[:, i], atol=1e-12)
        sizes.append(cache.bytes)
    assert sizes[-1] > sizes[-2] if order == 0 else len(set(sizes[order:])) == 1


@pytest.mark.parametrize("leak_free", LEAK_FREE)
def test_a_draft_is_verified_at_once_and_taken_back(leak_free: str) -> None:
    model = made(leak_free)
    whole, cache = model(SOURCE, TARGET), model.start(model.read(SOURCE))
    inputs = torch.cat([torch.full((2, 1), BOS), TARGET], 1)
    model.decode(inputs[:, :6], cache)
    wrong = torch.cat([inputs[:, 6:8], torch.full((2, 4), 4)], 1)
    assert torch.allclose(model.decode(wrong, cache)[:, :2], whole[:, 6:8], atol=1e-12)
    cache.crop(8)
    picked = cache.pick(torch.tensor([1, 0, 1]))
    assert torch.allclose(model.decode(inputs[[1, 0, 1], 8:], picked), whole[[1, 0, 1], 8:], atol=1e-12)
    with pytest.raises(ShapeError, match="cropped to 6 or more"):
        cache.crop(5)


def test_without_a_horizon_it_is_the_causal_decoder() -> None:
    teacher = made("none", 0)
    for leak_free in ("band-budget", "unroll"):
        assert torch.allclose(teacher(SOURCE, TARGET), made(leak_free, 0)(SOURCE, TARGET), atol=1e-12)
    for order in (len(TARGET[0]) + 1, 0):
        assert torch.allclose(made("none", 0, 1)(SOURCE, TARGET), made("transparent", order, 1)(SOURCE, TARGET), atol=1e-12)
    assert not torch.allclose(teacher(SOURCE, TARGET), made("transparent", 0)(SOURCE, TARGET), atol=1e-3)


def test_one_layer_unrolled_is_one_layer_of_transparent_attention() -> None:
    assert torch.allclose(made("unroll", 3, 1)(SOURCE, TARGET), made("transparent", 3, 1)(SOURCE, TARGET), atol=1e-12)


def test_one_model_serves_every_order() -> None:
    model = made(order=0)
    assert torch.equal(model(SOURCE, TARGET, order=3), made(order=3)(SOURCE, TARGET))


def test_padding_of_the_source_changes_nothing() -> None:
    model = made()
    assert torch.allclose(model(SOURCE, TARGET)[1:], model(SOURCE[1:, :2], TARGET[1:]), atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_of_all_states_is_exhaustive_search(order: int, penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, longest = made(order=order, vocabulary=7, layers=1), 4
    monkeypatch.setattr("paceline.models.translation.search.steps_for", lambda model, source: torch.tensor([longest, longest]))
    source = torch.tensor([[4, 5, 6], [6, 5, PAD]])
    texts = [text for n in range(longest + 1) for text in itertools.product([4, 5, 6], repeat=n)]
    for row, best in enumerate(beam(model, source, 7**order, penalty)):
        found = {text: exact(model, source[row : row + 1], text, penalty) for text in texts}
        assert best.tokens == list(max(found, key=found.__getitem__))
        assert best.score == pytest.approx(max(found.values()), abs=1e-5)


@torch.no_grad()
def exact(model: Markov, source: torch.Tensor, text: tuple[int, ...], penalty: float) -> float:
    logits = model(source[:, : int((source != PAD).sum())], torch.tensor([text], dtype=torch.long))[0]
    logits[:, [PAD, BOS, 3]] = -torch.inf
    return float(logits.log_softmax(-1).gather(1, torch.tensor([[*text, EOS]]).T).sum()) / (len(text) + 1) ** penalty


def test_merging_finds_no_worse_and_a_beam_of_one_without_penalty_is_greedy() -> None:
    model = made(order=2, vocabulary=9)
    source = torch.randint(4, 9, (6, 5), generator=torch.Generator().manual_seed(0))
    merged, plain = (beam(model, source, 4, 0.0, merge=merge) for merge in (True, False))
    assert all(a.score >= b.score - 1e-6 for a, b in zip(merged, plain, strict=True))
    assert [c.tokens for c in beam(model, source, 1, 0.0)] == [c.tokens for c in greedy(model, source)]
    with pytest.raises(RequestError, match="beam of at least 1, found 0"):
        beam(model, source, 0)


@pytest.mark.parametrize("search", [greedy, beam])
def test_a_sentence_is_translated_as_if_alone(search) -> None:
    model = made("none", order=2, vocabulary=9)
    sources = [[4, 5, 6, 7, 8, 4, 5], [8], [6, 6, 6], [5, 4, 8, 7]]
    together = search(model, torch.tensor([row + [PAD] * (7 - len(row)) for row in sources]))
    for one, row in zip(together, sources, strict=True):
        (alone,) = search(model, torch.tensor([row]))
        assert one.tokens == alone.tokens and one.score == pytest.approx(alone.score, abs=1e-5)


@pytest.mark.parametrize("leak_free", LEAK_FREE)
def test_a_change_is_scored_by_its_neighbourhood(leak_free: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(leak_free, 3)
    source, target = model.read(SOURCE), TARGET.clone()
    before = token_scores(model, source, target)
    target[:, 6:8] = 4
    whole, fed = token_scores(model, source, target), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda tokens, cache: fed.append(tokens.shape[1]) or decode(tokens, cache))
    assert torch.allclose(changed_scores(model, source, target, before, range(6, 8)), whole, atol=1e-12)
    assert fed == [15 if leak_free == "none" else 2 + 3 + 2]
    target[:, 13] = 4
    last = changed_scores(model, source, target, whole, range(13, 14))
    assert torch.allclose(last, token_scores(model, source, target), atol=1e-12)
    with pytest.raises(ModelError, match="Score the whole sentence"):
        changed_scores(model, source, target, before, range(6, 8), order=0)


def test_scores_end_with_each_sentence() -> None:
    model, target = made(), torch.tensor([[5, 6, 7, 8], [5, 6, PAD, PAD]])
    scores = token_scores(model, model.read(SOURCE), target)
    alone = token_scores(model, model.read(SOURCE[1:]), target[1:, :2])
    assert torch.allclose(scores[1, :3], alone[0], atol=1e-12) and (scores[1, 3:] == 0).all() and (scores[0] < 0).all()


def test_a_model_comes_back_from_its_folder(tmp_path) -> None:
    model = made("content-mlp")
    model.save_pretrained(tmp_path)
    again = Markov.from_pretrained(tmp_path, dtype=torch.float64)
    assert torch.equal(model(SOURCE, TARGET), again.eval()(SOURCE, TARGET))
    with pytest.raises(RequestError, match="Did you mean 'transparent'"):
        TranslationConfig(leak_free="transparant")
