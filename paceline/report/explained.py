"""Why a text got its label: each word as strongly coloured as it spoke for the label (blue) or against it (orange).

As pieces of text, and as one page of HTML that loads nothing. The words' weights and the rest add up to the label's logit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jinja2

from paceline.models.exam.classifier import Explained

__all__ = ["SAID", "Piece", "page", "pieces", "strongest", "summed"]

SAID = 0.15  # of the strongest word's weight, below which a word stays plain
NAMED = 6  # words told in the line below a text


class Piece(NamedTuple):
    """A stretch of text; share: its weight, from -1 (against the label) to 1 (for it)."""

    text: str
    weight: float
    share: float


def pieces(told: Explained) -> Iterator[Piece]:
    """The whole text in order, what lies between words and beyond the classifier's length with no weight."""
    at, strongest = 0, max((abs(part.weight) for part in told.parts), default=0.0) or 1.0
    for part in sorted(told.parts):
        if part.start > at:
            yield Piece(told.text[at : part.start], 0.0, 0.0)
        yield Piece(told.text[part.start : part.stop], part.weight, part.weight / strongest)
        at = part.stop
    if at < len(told.text):
        yield Piece(told.text[at:], 0.0, 0.0)


def strongest(told: Explained) -> str:
    """The words that spoke loudest, for and against."""
    loud = sorted((piece for piece in pieces(told) if abs(piece.share) >= SAID), key=lambda piece: -abs(piece.weight))
    return ", ".join(f"{piece.text} {piece.weight:+.2f}" for piece in loud[:NAMED])


def summed(told: Explained) -> str:
    """How the logit came about."""
    words = sum(part.weight for part in told.parts)
    return f"words {words:+.2f}, rest {told.rest:+.2f}, logit {told.logit:.2f}"


def page(found: Sequence[Sequence[Explained]], labels: Sequence[str]) -> str:
    """All texts as one page."""
    return _template().render(found=found, labels=labels, pieces=pieces, strongest=strongest, summed=summed, said=SAID)


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template("explained.html")
