"""A one-pass draft is lined up with the text by edit distance, written anew behind it, and never changes it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paceline.core.request import Request
from paceline.drafters import nat
from paceline.drafters.nat import Draft, Nat
from paceline.engine import Engine
from paceline.errors import ModelError
from paceline.models.translation.config import EOS, MASK, TranslationConfig
from paceline.models.translation.lm import TranslationLM, prompt_of
from paceline.models.translation.markov import Markov
from paceline.models.translation.nat import Nat as OnePass
from paceline.models.translation.subwords import Subwords
from paceline.models.translation.translator import Translator

WORDS = Subwords.trained(["a b c"], 300)
SOURCES = [[5, 6, 7, 8], [9, 8], [7, 12, 11, 13, 14, 4]]
LIMIT = 10


def config() -> TranslationConfig:
    return TranslationConfig(vocabulary=20, width=16, heads=2, ffn=24, layers=1, decoder_layers=2, longest=12)


def filled(model: Any) -> Any:
    for parameter in (each for each in model.parameters() if each.ndim > 1):  # no bias makes one token the likeliest
        torch.nn.init.normal_(parameter)
    return model.double().eval()


def target() -> TranslationLM:
    torch.manual_seed(1)
    return TranslationLM(Translator(filled(Markov(config())), WORDS))


def written(drafter: Any, slots: int = 2, eos: frozenset[int] = frozenset([EOS])) -> tuple[list[list[int]], list[Any]]:
    engine = Engine(target(), drafter, controller="fixed:budget=12", slots=slots)
    found = engine.run([Request(prompt_of(source), max_new_tokens=LIMIT, eos=eos) for source in SOURCES])
    return [one.tokens for one in found], [one.stats for one in found]


@pytest.mark.parametrize("again", [True, False])
def test_a_draft_changes_no_token(again: bool) -> None:
    torch.manual_seed(2)
    tokens, stats = written(Nat(Translator(filled(OnePass(config())), WORDS), again))
    assert tokens == written("none")[0] and all(one.drafted and not one.failures for one in stats)


@pytest.mark.parametrize("again", [True, False])
def test_a_draft_with_one_mistake_takes_two_rounds(again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    right, asked = written("none", eos=frozenset())[0][2], list[torch.Tensor]()
    draft = [*right[:3], 4 + (right[3] == 4), *right[4:]]

    def allowed(model: Any, source: Any, masked: torch.Tensor) -> torch.Tensor:
        asked.append(masked)
        return torch.eye(20)[torch.tensor([draft if len(asked) == 1 else right])]

    monkeypatch.setattr(nat, "allowed", allowed)
    one_pass = filled(OnePass(config()))
    monkeypatch.setattr(one_pass, "read", lambda source: (Whole(), one_hot(LIMIT)))
    engine = Engine(target(), Nat(Translator(one_pass, WORDS), again), controller="fixed:budget=12")
    (found,) = engine.run([Request(prompt_of(SOURCES[2]), max_new_tokens=LIMIT)])
    assert found.tokens == right and found.stats.rounds == 2 and len(asked) == 1 + again
    if again:  # it sees what stands, and masks what is left
        assert asked[1].tolist() == [[*right[:4], *[MASK] * (LIMIT - 4)]]


class Whole:
    """Stands for an encoded source, of which nothing is read here."""

    layers: tuple[()] = ()
    seen = torch.ones(1, 1, 1, 6, dtype=torch.bool)

    def row(self, b: int, length: int) -> Whole:
        return self


def one_hot(length: int) -> torch.Tensor:
    return torch.eye(13)[[length]].log()


@given(st.lists(st.integers(4, 7), max_size=6), st.lists(st.integers(4, 7), max_size=6), st.integers(0, 6))
def test_lining_up_finds_a_nearest_beginning(draft: list[int], text: list[int], seen: int) -> None:
    lined = Draft(Whole(), draft)  # type: ignore[arg-type]
    lined.line_up(text[:seen])
    used, right = lined.line_up(text)
    assert distance(draft[:used], text) == min(distance(draft[:j], text) for j in range(len(draft) + 1))
    assert right == (draft[:used] == text)
    lined.begin_with(text, draft)
    assert lined.line_up([*text, 8])[0] == distance([*text, *draft], []) - len(draft) + bool(draft)


def distance(a: list[int], b: list[int]) -> int:
    @lru_cache(None)
    def between(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return between(len(a), len(b))


def test_only_a_one_pass_model_of_the_same_subwords_drafts_for_a_translator(lm: Any) -> None:
    one_pass, other = OnePass(config()), Subwords.trained(["x y z"] * 9, 310)
    with pytest.raises(ModelError, match="its target is a translator"):
        Nat(Translator(one_pass, WORDS)).attach(lm)
    with pytest.raises(ModelError, match="writes token by token"):
        Nat(Translator(Markov(config()), WORDS)).attach(target())
    with pytest.raises(ModelError, match="other subwords"):
        Nat(Translator(one_pass, other)).attach(target())
