"""A one-pass translator drafts for one that writes token by token: the whole sentence first, then what is left of it.

Non-autoregressive decoding is fast and makes mistakes; verified by the other model it is as fast where it is right, and nothing
is lost where it is wrong. As in aggressive decoding (Ge et al. 2022, arXiv 2205.10350), a whole draft is scored in one forward,
and after a mistake the text is lined up with the draft again. Departures: the lining up is by edit distance; and with `again` the
rest is written anew by a pass that sees what stands by then, as a conditional masked language model can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paceline.core.proposal import Proposal
from paceline.core.row import Row
from paceline.errors import ModelError
from paceline.models.translation.body import Source, padded
from paceline.models.translation.config import EOS, MASK
from paceline.models.translation.lm import TranslationLM, parts_of
from paceline.models.translation.mask_predict import allowed, masks
from paceline.models.translation.nat import Nat as OnePass
from paceline.models.translation.translator import Translator

__all__ = ["Nat"]


@dataclass(frozen=True)
class Nat:
    """model: the folder of a one-pass translator with the target's subwords, or a `Translator`. again: after a mistake, write the
    rest of the draft anew, behind what the target has written, which pays where a pass costs much less than a round; else go on
    with the draft as it is.
    """

    model: Any
    again: bool = False

    def attach(self, lm: Any) -> Sentences:
        """Raises ModelError for a target that translates nothing, a model of another kind or of other subwords."""
        if not isinstance(lm, TranslationLM):
            raise ModelError("nat drafts translations: its target is a translator, as `paceline translate --drafter` opens one.")
        held = self.model if isinstance(self.model, Translator) else Translator.load(self.model)
        if not isinstance(held.model, OnePass):
            raise ModelError(f"nat drafts with a one-pass model; the one in {self.model} writes token by token.")
        if lm.subwords != held.subwords:
            raise ModelError("The one-pass model has other subwords than its target: take both from one `paceline train`.")
        return Sentences(held.model, self.again)


class Draft:
    """One sentence's draft, and where the text stands in it."""

    def __init__(self, source: Source, tokens: list[int]) -> None:
        self.source, self.tokens, self.read = source, tokens, 0
        self.distances = list(range(len(tokens) + 1))

    def line_up(self, text: Sequence[int]) -> tuple[int, bool]:
        """How much of the draft is used up: its beginning that is nearest to the text, by Levenshtein's distance; of several the
        one that ends as the text does, and then the one as long as the text. And whether that is the text.
        """
        for token in text[self.read :]:
            self.distances = nearer(self.distances, self.tokens, token)
        self.read = len(text)
        ends = [not text, *([token] == text[-1:] for token in self.tokens)]
        used = min(range(len(ends)), key=lambda j: (self.distances[j], not ends[j], abs(j - len(text))))
        return used, self.distances[used] == 0

    def begin_with(self, text: Sequence[int], rest: list[int]) -> None:
        """From now on the draft is the text as it stands, and this behind it."""
        self.tokens = [*text, *rest]
        self.distances = [abs(len(text) - j) for j in range(len(self.tokens) + 1)]


def nearer(before: list[int], draft: Sequence[int], token: int) -> list[int]:
    """Distances of the draft's beginnings to a text, from those to the text without its last token."""
    row = [before[0] + 1]
    for j, other in enumerate(draft):
        row.append(min(before[j] + (other != token), before[j + 1] + 1, row[j] + 1))
    return row


class Sentences:
    """The attached drafter; its memory is one `Draft` per row."""

    captures, has_model, timed = (), True, False

    def __init__(self, model: OnePass, again: bool) -> None:
        self.model, self.again = model, again
        self._rows: dict[int, Draft] = {}

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """What is left of each row's draft, and the end; all nodes are chosen."""
        if fresh := [row for row in rows if row.id not in self._rows]:
            self._begin(fresh)
        texts = [parts_of(row.tokens)[1] for row in rows]
        drafts = [self._rows[row.id] for row in rows]
        found = [draft.line_up(text) for draft, text in zip(drafts, texts, strict=True)]
        if self.again and (wrong := [i for i, (_, right) in enumerate(found) if not right]):
            self._write_again([drafts[i] for i in wrong], [texts[i] for i in wrong], [found[i][0] for i in wrong])
            for i in wrong:
                found[i] = len(texts[i]), True
        chains = [[*draft.tokens[used:], EOS] for draft, (used, _) in zip(drafts, found, strict=True)]
        return [Proposal.chain(chain[:budget], "nat") for chain, budget in zip(chains, budgets, strict=True)]

    def forget(self, row: Row) -> None:
        self._rows.pop(row.id, None)

    def _begin(self, rows: Sequence[Row]) -> None:
        """Draft whole sentences, each of its likeliest length."""
        sources = [parts_of(row.tokens)[0] for row in rows]
        read, lengths = self.model.read(padded(sources).to(self.model.device))
        sizes = lengths.argmax(-1)
        tokens = allowed(self.model, read, masks(sizes)).argmax(-1).tolist()
        for b, row in enumerate(rows):
            self._rows[row.id] = Draft(read.row(b, len(sources[b])), tokens[b][: int(sizes[b])])

    def _write_again(self, drafts: Sequence[Draft], texts: Sequence[list[int]], used: Sequence[int]) -> None:
        """Draft what is left behind these texts, as long as it was."""
        most = self.model.config.longest
        left = [min(len(draft.tokens) - n, most - len(text)) for draft, text, n in zip(drafts, texts, used, strict=True)]
        target = padded([[*text, *[MASK] * n] for text, n in zip(texts, left, strict=True)]).to(self.model.device)
        tokens = allowed(self.model, Source.together([draft.source for draft in drafts]), target).argmax(-1).tolist()
        for draft, text, n, row in zip(drafts, texts, left, tokens, strict=True):
            draft.begin_with(text, row[len(text) : len(text) + n])


def tiny(lm: Any) -> Nat:
    if not isinstance(lm, TranslationLM):
        raise ModelError("a one-pass translator drafts for a translator")
    return Nat(Translator(OnePass(lm.model.config), lm.subwords))
