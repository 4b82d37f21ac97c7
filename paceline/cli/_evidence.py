"""Texts on a terminal, each word coloured as it spoke for the text's label (blue) or against it (orange)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paceline.cli._live import CONTROL
from paceline.models.exam.classifier import Explained
from paceline.report.explained import SAID, pieces, strongest, summed

__all__ = ["show"]

LOUD = 0.6  # of the strongest word's weight, from which a word is bold
FOR, AGAINST = "blue", "dark_orange3"


def show(found: Sequence[Sequence[Explained]], console: Any) -> None:
    """Print every text once for each label; what the colours say stands below it in words, too."""
    from rich.text import Text

    for told in (told for some in found for told in some):
        line = Text().append(f"{told.label} {told.probability:.2f}  ", style="bold")
        for piece in pieces(told):
            line.append(piece.text.translate(CONTROL), style=style(piece.share))
        console.print(line, soft_wrap=True)
        words = strongest(told).translate(CONTROL) or "no word stands out"
        console.print(f"    {words} ({summed(told)})", style="dim", soft_wrap=True, highlight=False)


def style(share: float) -> str:
    if abs(share) < SAID:
        return ""
    return f"{'bold ' if abs(share) >= LOUD else ''}{FOR if share > 0 else AGAINST}"
