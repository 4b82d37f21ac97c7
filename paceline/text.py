"""From tokens to text, one token at a time: unfinished characters and possible stop strings are held back."""

from collections.abc import Sequence
from typing import Any

__all__ = ["Detokenizer"]

UNFINISHED = "\ufffd"  # what a tokenizer decodes half a character to


class Detokenizer:
    """The growing text of one row.

    `add` takes a token and says whether a stop string is now complete; `text` is everything decoded, cut before the stop;
    `take` gives what can be shown and was not yet. A token's text is what it adds to the text of the few tokens before it, so
    tokenizers that treat a first token specially decode as they would all at once.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        self.text, self.stopped = "", False
        self._tokens: list[int] = []
        self._from = self._read = self._shown = 0

    def add(self, token: int) -> bool:
        """True when the text so far, this token included, contains a stop string."""
        self._tokens.append(token)
        known = self._decode(self._tokens[self._from : self._read])
        now = self._decode(self._tokens[self._from :])
        if len(now) > len(known) and not now.endswith(UNFINISHED):
            self._from, self._read = self._read, len(self._tokens)
            self._extend(now[len(known) :])
        return self.stopped

    def finish(self) -> str:
        """The whole text; whatever was held back as unfinished is final now."""
        if not self.stopped:
            known = self._decode(self._tokens[self._from : self._read])
            self._extend(self._decode(self._tokens[self._from :])[len(known) :])
            self._from = self._read = len(self._tokens)
        return self.text

    def take(self, final: bool = False) -> str:
        """Text that no later token can take back, since the last call."""
        safe = len(self.text) if final or self.stopped else len(self.text) - self._held()
        piece, self._shown = self.text[self._shown : max(safe, self._shown)], max(safe, self._shown)
        return piece

    def _extend(self, new: str) -> None:
        start = max(0, len(self.text) - max(map(len, self.stop), default=0) + 1)
        self.text += new
        places = [place for s in self.stop if (place := self.text.find(s, start)) >= 0]
        if places:
            self.text, self.stopped = self.text[: min(places)], True

    def _held(self) -> int:
        """Length of the longest tail of the text that begins a stop string."""
        longest = max(map(len, self.stop), default=0)
        for size in range(min(longest - 1, len(self.text)), 0, -1):
            if any(s.startswith(self.text[-size:]) for s in self.stop if len(s) > size):
                return size
        return 0

    def _decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False) if tokens else ""
