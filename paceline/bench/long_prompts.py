"""Prompts of a given length in tokens: a needle in a haystack, code to complete, a long document to go on with.

Their text is what every Python carries: the language reference that `help()` shows, and the standard library's sources. So there
is nothing to download, and any length up to some 200,000 tokens can be had.
"""

from __future__ import annotations

import json
import random
import sysconfig
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from paceline.bench.tasks import Prompt
from paceline.errors import DataError, RequestError, did_you_mean

__all__ = ["LONG_KINDS", "library", "long_prompts", "reference"]

LONG_KINDS = ("needle", "completion", "document")
COUNT = 8  # prompts of a kind
LEAST = 192  # tokens; below, a question does not fit beside its text
CHARACTERS = 2  # that a token has at least, about: a needle within so many a token is never cut off
THINGS = ("harbour", "library", "orchard", "station", "bakery", "observatory", "theatre", "lighthouse")


def long_prompts(kind: str, tokens: int) -> list[Prompt]:
    """Eight prompts of exactly so many tokens, as far as there is text. Raises RequestError for too few tokens."""
    makers: dict[str, Callable[[int, int], Prompt]] = {"needle": _needle, "completion": _completion, "document": _document}
    if kind not in makers:
        raise DataError(f"There is no long task {kind!r}.{did_you_mean(kind, LONG_KINDS)}")
    if tokens < LEAST:
        raise RequestError(f"Expected a context of at least {LEAST} tokens, found {tokens}.")
    return [makers[kind](i, tokens) for i in range(COUNT)]


def _needle(i: int, tokens: int) -> Prompt:
    """A sentence hidden at one of eight depths, and the beginning of its repetition at the end."""
    number, thing = random.Random(i).randint(10_000, 99_999), THINGS[i % len(THINGS)]
    text = _from(reference(), i, tokens)
    place = text.find("\n", int(tokens * CHARACTERS * (i + 0.5) / COUNT)) + 1
    needle = f"The secret number of the {thing} is {number}.\n"
    question = f"\n\nThe secret number of the {thing} is"
    return Prompt("needle", text=text[:place] + needle + text[place:], tail=question, tokens=tokens)


def _completion(i: int, tokens: int) -> Prompt:
    """Files of the library one after the other, the last broken off."""
    return Prompt("completion", text=_from(library(), i, tokens), tokens=tokens)


def _document(i: int, tokens: int) -> Prompt:
    return Prompt("document", text=_from(reference(), i, tokens), tokens=tokens)


def _from(text: str, i: int, tokens: int) -> str:
    """More than enough text for so many tokens, from the beginning of a line, elsewhere for every prompt."""
    start = text.find("\n", len(text) * i // COUNT) + 1
    return (text[start:] + text)[: 12 * tokens]


@lru_cache(maxsize=1)
def reference() -> str:
    """The language reference in plain text."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


@lru_cache(maxsize=1)
def library() -> str:
    return "\n".join(_sources(Path(json.__file__).parents[1]))


def _sources(folder: Path) -> Iterator[str]:
    """The library's own files, each below its name, without what was installed beside them."""
    outside = Path(sysconfig.get_paths()["purelib"])
    for path in sorted(folder.glob("*.py")) + sorted(folder.glob("[a-z]*/*.py")):
        if outside not in path.parents and "test" not in path.parts:
            yield f"# {path.relative_to(folder)}\n{path.read_text(encoding='utf-8', errors='replace')}"
