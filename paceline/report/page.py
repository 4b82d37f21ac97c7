"""The report as one page of HTML, complete in itself: it loads nothing, and reads on a phone and wide, light and dark."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

from paceline.report.diff import Diff
from paceline.report.roles import ROLES, Head, tally
from paceline.report.view import View

__all__ = ["page"]

# Okabe and Ito's hues, darkened until white letters are read on them: the colour-blind tell them apart.
COLOURS = {"sink": "#1b67a3", "slash": "#b3480b", "induction": "#8e3f80", "local": "#17735a", "lazy": "#856000",
           "mixed": "#66707a"}  # fmt: skip
LETTERS = {"sink": "S", "slash": "/", "induction": "I", "local": "L", "lazy": "z", "mixed": "·"}


def page(view: View | Diff) -> str:
    """The whole page."""
    return _template().render(view=view, tally=tally(view.heads), roles=ROLES, told=told, colours=COLOURS, letters=LETTERS)


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template("page.html")


def told(head: Head) -> str:
    """A head's numbers in one line."""
    shares = ", ".join(f"{word} {share:.2f}" for word, share in head.shares.items() if share == share)
    holds = f"{head.word} in {head.confidence:.0%} of the texts"
    return f"Layer {head.layer}, head {head.head}: {holds}. Shares of attention: {shares}."
