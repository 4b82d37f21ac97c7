"""From tokens to text, one token at a time: unfinished characters and possible stop strings are held back."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from paceline.core.protocols import Tokenizer

__all__ = ["Detokenizer", "Span", "without_special"]

UNFINISHED = "\ufffd"  # what a tokenizer decodes half a character to
TAIL = 8  # tokens of the prompt that the first ones are decoded behind


class Span(NamedTuple):
    """Characters next to each other that came from a draft, or did not."""

    text: str
    drafted: bool


class Detokenizer:
    """The growing text of one row.

    `add` takes a token and says whether a stop string is now complete; `text` is everything decoded, cut before the stop;
    `take` gives what can be shown and was not yet, `spans` the same and where it came from. A token's text is what it adds to
    the text of the few tokens before it, the prompt's among them, so tokenizers that treat a first token specially decode as they
    would all at once.

    after: the prompt, of which the end is read. special: keep special tokens in the text; a stop string that names one ends the
    text in any case.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = (), after: Sequence[int] = (), special: bool = False) -> None:
        self.tokenizer, self.stop, self.special = tokenizer, tuple(stop), special
        self.text, self.stopped = "", False
        self._cut = ""  # what the text lost to a stop string
        self._own = False  # whether one of the tokens behind the next characters is no drafted one
        self._ends = deque[tuple[int, bool]]()  # of each run of text not shown yet: where it ends, whether it was drafted
        self._tokens = list(after[-TAIL:])
        if self._decode(self._tokens).endswith(UNFINISHED):
            self._tokens = []  # a prompt that ends within a character: nothing can be told from it
        self._from, self._read, self._shown = 0, len(self._tokens), 0
        named = [] if special else [word for word in special_words(tokenizer) if any(word in s for s in self.stop)]
        self._named = Detokenizer(tokenizer, stop, after, special=True) if named else None

    def add(self, token: int, drafted: bool = False) -> bool:
        """True when the text so far, this token included, contains a stop string. Characters that several tokens make together
        count as drafted where all of them were.
        """
        self._tokens.append(token)
        self._own = self._own or not drafted
        known = self._decode(self._tokens[self._from : self._read])
        now = self._decode(self._tokens[self._from :])
        if len(now) > len(known) and not now.endswith(UNFINISHED):
            self._from, self._read = self._read, len(self._tokens)
            self._extend(now[len(known) :])
        if self._named is not None and not self.stopped and self._named.add(token):
            self._end_as(self._named)
        return self.stopped

    def whole(self, tokens: Sequence[int]) -> str:
        """The text of all tokens at once."""
        self._tokens += tokens
        return self.finish()

    def finish(self) -> str:
        """The whole text; whatever was held back as unfinished is final now."""
        if not self.stopped:
            known = self._decode(self._tokens[self._from : self._read])
            self._extend(self._decode(self._tokens[self._from :])[len(known) :])
            self._from = self._read = len(self._tokens)
        return self.text

    def take(self, final: bool = False) -> str:
        """Text that no later token can take back, since the last call."""
        return "".join(span.text for span in self.spans(final))

    def spans(self, final: bool = False) -> list[Span]:
        """What `take` gives, cut where drafted text begins or ends."""
        stop, found = len(self.text) if final or self.stopped else len(self.text) - self._held(), list[Span]()
        while self._shown < stop:
            end, drafted = self._ends[0]
            start, self._shown = self._shown, min(end, stop)
            found.append(Span(self.text[start : self._shown], drafted))
            if end <= stop:
                self._ends.popleft()
        return found

    def _extend(self, new: str) -> None:
        drafted, self._own = not self._own, False
        if self._ends and self._ends[-1][1] is drafted:
            self._ends.pop()  # the run goes on
        self._ends.append((len(self.text) + len(new), drafted))
        start = max(0, len(self.text) - max(map(len, self.stop), default=0) + 1)
        self.text += new
        places = [place for s in self.stop if (place := self.text.find(s, start)) >= 0]
        if places:
            self.text, self._cut, self.stopped = self.text[: min(places)], self.text[min(places) :], True

    def _end_as(self, named: "Detokenizer") -> None:
        """End where the text with its special tokens has ended."""
        text = self.finish()
        self.text, self.stopped = text[: len(text) - len(without_special(self.tokenizer, named._cut))], True

    def _held(self) -> int:
        """Length of the longest tail of the text that begins a stop string."""
        if self._named is not None and (size := self._named._held()):
            return len(without_special(self.tokenizer, self._named.text[-size:]))
        longest = max(map(len, self.stop), default=0)
        for size in range(min(longest - 1, len(self.text)), 0, -1):
            if any(s.startswith(self.text[-size:]) for s in self.stop if len(s) > size):
                return size
        return 0

    def _decode(self, tokens: Sequence[int]) -> str:
        if not tokens:
            return ""
        return self.tokenizer.decode(tokens, skip_special_tokens=not self.special, clean_up_tokenization_spaces=False)


def without_special(tokenizer: Tokenizer, text: str) -> str:
    """A text without the special tokens that are written in it."""
    for word in special_words(tokenizer):
        text = text.replace(word, "")
    return text


def special_words(tokenizer: Tokenizer) -> list[str]:
    """The special tokens, as they are written."""
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
