"""Texts to look at: of one length, with a start token or without, as they are or with other tokens in their place."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch

from paceline.core.checks import whole
from paceline.engine.inputs import encode, is_chat
from paceline.errors import RequestError

__all__ = ["Texts", "Tokens", "read_texts"]

Tokens = Literal["given", "random", "shuffled", "repeated"]


class Texts(NamedTuple):
    """Token ids of each text, and how many were left out since they are too short."""

    tokens: list[list[int]]
    left_out: int


def read_texts(reader: Any, texts: Sequence[Any], length: int | None = None, start_token: bool | int | None = None,
               tokens: Tokens = "given", seed: int = 0) -> Texts:
    """Cut to `length` tokens, start token included; shorter texts are left out. reader: has `tokenizer` (or None) and `vocab`.

    start_token: True puts the tokenizer's own before each text, a number puts that one, False leaves any out, None does what the
    tokenizer does. tokens: in the place of all but the start token, "random" puts uniform random ids, "repeated" half as many of
    them, twice over, "shuffled" the text's own in a random order. Raises RequestError for what cannot be read.
    """
    if tokens not in get_args(Tokens):
        raise RequestError(f"tokens must be one of {', '.join(get_args(Tokens))}; found {tokens!r}.")
    random, start = torch.Generator().manual_seed(seed), starter(reader.tokenizer, start_token)
    whole_length = None if length is None else whole("length", length, 1)
    found = [begun(reader, text, start, start_token) for text in texts]
    kept = [ids[:whole_length] for ids in found if ids and len(ids) >= (whole_length or 1)]
    return Texts([replaced(ids, start, tokens, reader.vocab, random) for ids in kept], len(found) - len(kept))


def starter(tokenizer: Any, asked: bool | int | None) -> int | None:
    """The start token that a text may begin with; None where there is none."""
    if asked is not None and not isinstance(asked, bool):
        return whole("start_token", asked, 0)
    own = getattr(tokenizer, "bos_token", None)
    if asked and own is None:
        raise RequestError("This model's tokenizer has no start token: give the id of one as start_token.")
    return None if own is None else tokenizer(own, add_special_tokens=False)["input_ids"][0]


def begun(reader: Any, text: Any, start: int | None, asked: bool | int | None) -> list[int]:
    """A text's ids, begun as asked."""
    ids = encode(reader, text)
    if asked is None or is_chat(text):
        return ids
    ids = ids[1:] if ids[:1] == [start] else ids
    return ids if asked is False or start is None else [start, *ids]


def replaced(ids: list[int], start: int | None, tokens: Tokens, vocab: int, random: torch.Generator) -> list[int]:
    """Other ids in the place of all but the start token."""
    begin, rest = ([ids[0]], ids[1:]) if ids[0] == start else ([], ids)
    if tokens == "given":
        return ids
    if tokens == "shuffled":
        return begin + [rest[i] for i in torch.randperm(len(rest), generator=random, dtype=torch.long, device="cpu").tolist()]
    drawn = torch.randint(vocab, (len(rest),), generator=random, dtype=torch.long, device="cpu").tolist()
    half = len(rest) // 2
    return begin + (drawn if tokens == "random" else drawn[:half] + drawn[:half] + drawn[half : half + len(rest) % 2])
