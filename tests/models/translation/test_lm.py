"""A translator decoded by the engine writes what its own loop writes: any order, any drafter, any company."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paceline.core.request import Request
from paceline.core.row import Generation
from paceline.core.sampling import Sampling
from paceline.drafters.small_model import SmallModel
from paceline.engine import Engine
from paceline.errors import ModelError, RequestError
from paceline.models.translation.body import padded
from paceline.models.translation.config import EOS, LEAK_FREE, TranslationConfig
from paceline.models.translation.lm import TranslationLM, parts_of, prompt_of
from paceline.models.translation.markov import Markov
from paceline.models.translation.nat import Nat
from paceline.models.translation.search import greedy, steps_for
from paceline.models.translation.subwords import Subwords
from paceline.models.translation.translator import Translator

SOURCES = [[5, 6, 7, 8, 9], [9, 8], [5, 6, 7], [7, 7, 12, 11, 13, 14, 4], [5, 6, 7, 8, 9], [10]]
WORDS = Subwords.trained(["a b c"], 300)


def made(leak_free: str = "transparent", order: int = 3, **other: Any) -> Markov:
    """Untrained, with texts that vary: no bias makes one token the likeliest everywhere."""
    torch.manual_seed(3)
    config = TranslationConfig(vocabulary=20, width=16, heads=2, ffn=24, layers=1, decoder_layers=3, longest=12, order=order,
                               leak_free=leak_free, **other)
    model = Markov(config).double().eval()
    for parameter in (each for each in model.parameters() if each.ndim > 1):
        torch.nn.init.normal_(parameter)
    return model


def written(model: Markov, drafter: Any = "none", sampling: Sampling = Sampling(), slots: int = 3) -> list[list[int]]:  # noqa: B008
    limits = steps_for(model, padded(SOURCES)).tolist()
    requests = [Request(prompt_of(s), sampling, n, frozenset([EOS])) for s, n in zip(SOURCES, limits, strict=True)]
    found = Engine(TranslationLM(Translator(model, WORDS)), drafter, slots=slots).run(requests)
    assert not any(one.stats.failures for one in found)
    return [[token for token in one.tokens if token != EOS] for one in found]


@pytest.mark.parametrize("leak_free", [name for name in LEAK_FREE if name != "unroll"])
@pytest.mark.parametrize(("order", "pre_norm"), [(0, True), (1, True), (3, True), (3, False)])
def test_the_engine_writes_what_the_loop_of_the_model_writes(leak_free: str, order: int, pre_norm: bool) -> None:
    model = made(leak_free, order, pre_norm=pre_norm)
    expected = [candidate.tokens for candidate in greedy(model, padded(SOURCES))]
    assert written(model) == expected and len(set(map(tuple, expected))) > 3


@pytest.mark.parametrize("drafter", ["ngram:min_n=1,max_n=2,worth=0.0", "suffix", "merge:drafters=[suffix,ngram]"])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0, seed=5)], ids=["greedy", "seeded"])
def test_drafts_and_company_change_no_token(drafter: str, sampling: Sampling) -> None:
    model = made("none", 0)
    assert written(model, drafter, sampling) == written(model, "none", sampling, slots=1)


@pytest.mark.parametrize("options", [{}, {"beam": 2, "length": 3}], ids=["chain", "tree"])
def test_a_translator_drafts_for_another(options: dict[str, Any]) -> None:
    model = made("none", 0)
    for other, least in ((model, 1.5), (made("transparent", 2), 1.0)):
        lm = TranslationLM(Translator(other, WORDS))
        engine = Engine(TranslationLM(Translator(model, WORDS)), SmallModel(lm, worth=0.0, **options), slots=4)
        found = engine.run([Request(prompt_of(source), max_new_tokens=12) for source in SOURCES])
        assert [one.tokens for one in found] == [one.tokens for one in plain(model, 12)]
        assert not any(one.stats.failures for one in found)
        assert sum(one.stats.acceptance_length for one in found) >= least * len(found)


def plain(model: Markov, count: int) -> list[Generation]:
    engine = Engine(TranslationLM(Translator(model, WORDS)), "none")
    return engine.run([Request(prompt_of(source), max_new_tokens=count) for source in SOURCES])


def test_a_translation_that_is_begun_goes_on() -> None:
    model = made("transparent", 2)
    whole = written(model)[3]
    request = Request([*prompt_of(SOURCES[3]), *whole[:5]], max_new_tokens=len(whole) - 5)
    (found,) = Engine(TranslationLM(Translator(model, WORDS)), "none").run([request])
    assert found.tokens == whole[5:] and parts_of([*request.prompt, *found.tokens]) == (SOURCES[3], whole)


def test_a_low_order_keeps_few_keys_of_the_translation() -> None:
    def held(order: int) -> int:
        lm = TranslationLM(Translator(made("transparent", order, dropout=0.0), WORDS))
        lm.model.body.target_places.weight.data = torch.randn(400, 16, dtype=torch.float64)
        lm.model.config.longest, lm.context = 399, 500
        engine = Engine(lm, "none")
        row = engine.submit(Request(prompt_of(SOURCES[0]), max_new_tokens=380))
        while len(row.tokens) < 350:
            engine.step()
        return row.slot.bytes  # type: ignore[union-attr]

    assert held(2) * 2 < held(0)


def test_what_cannot_be_decoded_is_refused() -> None:
    config = TranslationConfig(vocabulary=20, width=16, heads=2, ffn=24, layers=1, decoder_layers=1, longest=12)
    with pytest.raises(ModelError, match="one-pass model drafts for one"):
        TranslationLM(Translator(Nat(config), WORDS))
    with pytest.raises(ModelError, match="keeps no keys"):
        TranslationLM(Translator(made("unroll"), WORDS))
    lm = TranslationLM(Translator(made(), WORDS))
    with pytest.raises(ModelError, match="use no selector, and a drafter that reads no queries"):
        Engine(lm, "none").run([Request(prompt_of(SOURCES[0]), selector="lighttransfer")])
    engine = Engine(lm, "none")
    with pytest.raises(RequestError, match="needs a source"):
        engine.run([Request(prompt_of([]))])
    with pytest.raises(RequestError, match="writes 12 tokens a sentence"):
        engine.run([Request(prompt_of(SOURCES[1]), max_new_tokens=20)])


