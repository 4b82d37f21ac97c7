"""Greedy translation by the engine: drafted, the very text of the model alone."""

from __future__ import annotations

from typing import Any

from paceline.core.request import Request
from paceline.core.row import Generation
from paceline.core.sampling import Sampling
from paceline.engine.engine import Engine
from paceline.models.translation.body import padded
from paceline.models.translation.config import EOS
from paceline.models.translation.lm import TranslationLM, prompt_of
from paceline.models.translation.search import Candidate, steps_for
from paceline.models.translation.translator import ROWS, Translator

__all__ = ["Drafted"]


class Drafted:
    """What `Translator.translate` may be given as `write`. drafter: spec or list, as everywhere; `nat:model=FOLDER` drafts with a
    one-pass model. order: as for `Asked`. made: what the engine has told of each sentence, in its order.

    Raises ModelError for a translator that is itself a one-pass model.
    """

    def __init__(self, translator: Translator, drafter: Any, order: int | None = None) -> None:
        lm: Any = TranslationLM(translator, order)
        self.model, self.engine = lm.model, Engine(lm, drafter, slots=ROWS)
        self.made: list[Generation] = []

    def __call__(self, sources: list[list[int]]) -> list[Candidate]:
        """Translations as greedy decoding writes them, scored alike: the mean log-probability of the tokens and the end."""
        limits = steps_for(self.model, padded(sources)).tolist()
        found = self.engine.run([Request(prompt_of(source), Sampling(logprobs=0), limit, frozenset([EOS]))
                                 for source, limit in zip(sources, limits, strict=True)])
        self.made += found
        return [candidate(one) for one in found]

    @property
    def acceptance_length(self) -> float:
        """Tokens a round, over all sentences so far; 1 without drafts."""
        return sum(len(one.tokens) for one in self.made) / max(1, sum(one.stats.rounds for one in self.made))


def candidate(made: Generation) -> Candidate:
    chances = [each.logprob for each in made.logprobs or ()]
    return Candidate([token for token in made.tokens if token != EOS], sum(chances) / len(chances))
