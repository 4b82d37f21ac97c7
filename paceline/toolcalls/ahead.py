"""From where an answer stands, the likeliest ways on as text, and those as tokens of a trie."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Any

from paceline.core.protocols import Tokenizer
from paceline.lookup.followed import counted
from paceline.lookup.rates import Rates
from paceline.lookup.trie import LEAST, Trie
from paceline.toolcalls.asked import END
from paceline.toolcalls.calls import Writing

__all__ = ["Path", "Speller", "ahead", "believed", "fingerprint"]

LEAVES = 8  # ways on that are spelled
STEPS = 24  # places at which it is asked what may come next
TOKEN = 3.0  # characters, about


@dataclass(frozen=True)
class Path:
    """Text that may follow; starts: where each of its pieces begins, its chance and what it is proposed on. ends: it is the end
    of the answer.
    """

    text: str
    starts: tuple[tuple[int, float, Hashable], ...]
    value: float
    ends: bool = False


def ahead(writing: Writing, rates: Rates, length: int) -> list[Path]:
    """The likeliest ways on, the best first, about so many tokens far."""
    number, reach = count(), TOKEN * length
    waiting: list[Any] = [(-1.0, next(number), writing, Path("", (), 1.0))]
    leaves: list[Path] = []
    for _ in range(STEPS):
        if not waiting:
            break
        _, _, here, path = heappop(waiting)
        grew = False
        for piece in here.pieces() if len(path.text) < reach else ():
            chance = rates.of(piece.kind)
            if path.value * chance < LEAST:
                continue
            ends, grew = piece.text == END, True
            text = "" if ends else piece.text
            longer = Path(path.text + text, (*path.starts, (len(path.text), chance, piece.kind)), path.value * chance, ends)
            if ends:
                leaves.append(longer)
                continue
            beyond = here.fork()
            beyond.feed(text)
            heappush(waiting, (-longer.value, next(number), beyond, longer))
        if not grew and path.starts:
            leaves.append(path)
    leaves += [path for _, _, _, path in waiting if path.starts]
    leaves.sort(key=lambda path: -path.value * len(path.text))
    return leaves[:LEAVES]


class Speller:
    """Text as a model's tokenizer writes it, and what its chat template tells."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.end, self.header = marks(tokenizer)
        self.vocabulary = fingerprint(tokenizer)

    def message(self, prompt: str) -> str:
        """What the user said, as far as a prompt shows it: from the first user's turn on, or its end."""
        start = prompt.find(self.header) if self.header else -1
        return prompt[start + len(self.header) :] if start >= 0 else prompt[-2000:]

    def spell(self, tree: Trie, written: Sequence[int], paths: Sequence[Path], rates: Rates) -> None:
        """Add the tokens of paths. They are spelled together with the last tokens of the answer where that leaves those
        unchanged, since a tokenizer may join what stands at a seam; the last token of a path that goes on is left out, since it
        may be such a seam.
        """
        before = self.tokenizer.decode(list(written), skip_special_tokens=False) if written else ""
        for path in paths:
            node = -1
            for token, chance, kind in self._steps(path, before, written, rates):
                after = tree.add([(token, chance)], "schema", node, LEAST, kind)
                if after == node:
                    break
                node = after

    def _steps(self, path: Path, before: str, written: Sequence[int], rates: Rates) -> list[tuple[int, float, Hashable]]:
        """A path's tokens, each with the chance and the kind of the pieces that begin in it."""
        spelled = self.tokenizer.backend_tokenizer.encode(before + path.text, add_special_tokens=False)
        skip, shift = len(written), len(before)
        if list(spelled.ids[:skip]) != list(written):
            spelled = self.tokenizer.backend_tokenizer.encode(path.text, add_special_tokens=False)
            skip = shift = 0
        steps, starts = list[tuple[int, float, Hashable]](), [*path.starts]
        for token, (_, stop) in zip(spelled.ids[skip:], spelled.offsets[skip:], strict=True):
            chance, kind = rates.of(INSIDE), INSIDE
            while starts and starts[0][0] < stop - shift:
                _, found, told = starts.pop(0)
                chance, kind = (found, told) if kind == INSIDE else (chance * found, kind)
            steps.append((token, chance, kind))
        if path.ends and self.end is not None:
            steps.append((self.end, path.starts[-1][1], path.starts[-1][2]))
        elif len(steps) > 1:
            steps.pop()
        return steps


INSIDE: Hashable = ("inside",)


def marks(tokenizer: Tokenizer) -> tuple[int | None, str]:
    """(token that ends an answer, what stands before a user's message), from the chat template; (end token, "") without one."""
    try:
        said = [{"role": "user", "content": "\u241f"}, {"role": "assistant", "content": "\u241e"}]
        text = tokenizer.apply_chat_template(said, tokenize=False)
        head, tail = text[: text.index("\u241f")], text[text.index("\u241e") + 1 :]
        ids = tokenizer.backend_tokenizer.encode(tail, add_special_tokens=False).ids
        return (ids[0] if ids else tokenizer.eos_token_id), head[-40:].split("\n\n")[-1].removeprefix(tokenizer.bos_token or "")
    except Exception:  # no template, or one that wants other messages
        return tokenizer.eos_token_id, ""


def fingerprint(tokenizer: Tokenizer) -> str:
    """Tells vocabularies apart."""
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha1("\n".join(word for word, _ in words).encode("utf-8", "replace")).hexdigest()[:16]


def believed(kind: Hashable) -> float:
    """The chance of a kind of piece before any was seen."""
    assert isinstance(kind, tuple)
    name, *rest = kind
    if name in FIRM:
        return FIRM[name]
    if name == "open":
        return 0.6 if rest[1] else 0.04
    if name == "arguments":
        return 0.9 if rest[0] else 0.1
    if name == "named":
        rank, begun, alone = rest
        return 0.97 if alone else (0.8 if begun else 0.5) * 0.4**rank
    if name == "key":
        rank, required, begun = rest
        return (0.9 if begun else 0.8 if required else 0.4) * 0.35**rank
    if name == "close":
        needed, free = rest
        return 0.08 if needed else 0.4 if free else 0.95
    if name == "value":
        _, rank, begun, choice, alone = rest
        return (0.35 + 0.15 * begun + 0.2 * choice + 0.15 * (alone and begun > 0)) * 0.5**rank
    return counted(kind)


FIRM = {"inside": 0.97, "opened": 0.95, "colon": 0.97, "name": 0.97, "end of call": 0.95, "closing": 0.75, "another call": 0.2,
        "end of answer": 0.95, "close list": 0.5, "next item": 0.3}
