"""Structured output: what a text has to look like, and what it may therefore go on with.

A `Grammar` is a value, cheap to make and free of any model. A `Compiler` (one for each model, `LM.grammars`) reads the
tokenizer once and compiles grammars against it; a `Matcher` is one row's place in its grammar. The parsing is llguidance's, the
extra `grammar`, imported when a grammar is first used. The mask after a path depends on the tokens of that path alone, however
it was come to, so drafting changes nothing. Masking renormalises token by token: the law is that of plain masked decoding, not
the model's law given that the whole text fits (Park et al. 2024, grammar-aligned decoding, on the difference).
"""

import copy
import json
import logging
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch

from paceline.core.checks import characters, short
from paceline.core.protocols import Tokenizer
from paceline.errors import ModelError, RequestError

__all__ = ["Compiler", "Grammar", "Matcher"]

EXTRA = "Structured output needs llguidance: pip install 'paceline[grammar]'."
ONE_LINE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# The library's own limits, meant for strangers' grammars on a server, end at 2,000 choices at one place.
LIMITS = {"max_items_in_row": 1_000_000, "step_max_items": 10_000_000, "initial_lexer_fuel": 100_000_000,
          "max_grammar_size": 50_000_000}
DEAD_END = "NoExtension"  # how the library begins its word for it
UNKNOWN_FORMAT = re.compile("^Unknown format: (.+)$", re.M)
VALUES = ("const", "default", "enum", "examples")  # hold values, not schemas

log = logging.getLogger("paceline")


@dataclass(frozen=True)
class Grammar:
    """What a text must look like: make one with `json_schema`, `regex`, `choice` or `lark`; equal ones are compiled once.

    A grammar that cannot be used shows when a request is submitted, as a RequestError that names the place.
    """

    kind: Literal["json_schema", "regex", "choice", "lark"]
    text: str
    free_spacing: bool = False

    @staticmethod
    def json_schema(schema: dict[str, Any] | str, free_spacing: bool = False) -> "Grammar":
        """JSON that a schema allows, keys in the schema's order. Written as `json.dumps` writes it, which forces many tokens and
        bounds the text; `free_spacing` allows any white space between its parts.
        """
        try:
            parsed = json.loads(schema) if isinstance(schema, str) else schema
            text = json.dumps(parsed, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError(f"The JSON schema is not JSON: {error}.") from None
        if not isinstance(parsed, dict):
            raise RequestError(f"A JSON schema must be an object, like {{\"type\": \"object\"}}; found {text[:40]}.")
        return Grammar("json_schema", characters("The JSON schema", text), free_spacing)

    @staticmethod
    def regex(pattern: str) -> "Grammar":
        """Text that a regular expression matches as a whole (Rust's syntax: no look-around, no back-references)."""
        return Grammar("regex", _written("regex", pattern))

    @staticmethod
    def choice(options: Iterable[str]) -> "Grammar":
        """One of several texts."""
        texts = [] if isinstance(options, str) or not isinstance(options, Iterable) else list(options)
        if not texts or any(not isinstance(text, str) or not text for text in texts):
            raise RequestError(f"A choice must be a list of non-empty texts; found {short(texts or options)}.")
        return Grammar("choice", json.dumps([characters("A choice", text) for text in texts], ensure_ascii=False))

    @staticmethod
    def lark(source: str) -> "Grammar":
        """A context-free grammar in llguidance's dialect of Lark; its rule `start` is the whole text."""
        return Grammar("lark", _written("Lark grammar", source))


def _written(what: str, text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise RequestError(f"A {what} must be non-empty text; found {short(text)}.")
    return characters(f"A {what}", text)


class Compiler:
    """Compiles grammars for one model's tokens. tokenizer: a fast one, or None, which raises ModelError when a grammar is asked
    for. vocab: V, the model's ids; those that the tokenizer lacks are never allowed.
    """

    def __init__(self, tokenizer: Tokenizer | None, vocab: int) -> None:
        self.tokenizer, self.vocab = tokenizer, vocab
        self._read = lru_cache(maxsize=4)(self._read_tokens)
        self._compiled = lru_cache(maxsize=64)(self._compile)

    def matcher(self, grammar: Grammar, ends: frozenset[int]) -> "Matcher":
        """A new text's place in a grammar. ends: ids that end a text; empty = the tokenizer's own."""
        if self.tokenizer is None:
            raise ModelError("A grammar needs a tokenizer, and this model has none: load it with tokenizer=.")
        own = self.tokenizer.eos_token_id
        ends = frozenset(t for t in ends or ([] if own is None else [int(own)]) if 0 <= t < min(self.vocab, len(self.tokenizer)))
        if not ends:
            raise RequestError("A grammar needs a token that ends the text, and this model has none: name one with eos=.")
        return Matcher(self._compiled(grammar, ends), ends, self.vocab)

    def _read_tokens(self, ends: frozenset[int]) -> Any:
        """The tokenizer as llguidance knows it: seconds for a large one."""
        _library()
        from llguidance import LLTokenizer

        assert self.tokenizer is not None, "`matcher` has refused that"
        try:
            words = copy.copy(self.tokenizer.backend_tokenizer)
            words.no_padding()
            words.no_truncation()
            return LLTokenizer(words.to_str(), eos_token=sorted(ends))
        except Exception as error:
            raise ModelError(f"Grammars cannot read this model's tokenizer ({type(self.tokenizer).__name__}): {_first(error)}. "
                             "They need a fast one, with a tokenizer.json.") from error

    def _compile(self, grammar: Grammar, ends: frozenset[int]) -> Any:
        tokens = self._read(ends)
        matcher, error = _try(grammar, tokens)
        if error:
            named = {"json_schema": "JSON schema", "lark": "Lark grammar"}.get(grammar.kind, grammar.kind)
            place = "".join(f" at {p}" for p in [_place(grammar, tokens)] if p) if grammar.kind == "json_schema" else ""
            raise RequestError(f"The {named} cannot be used{place}: {_first(error)}.")
        return matcher


class Matcher:
    """One row's place in its grammar: after its committed text, and for a while after drafted paths behind it.

    ended: an end token was committed. complete: the text before it is all that the grammar asks for. Where a text can no longer
    be completed with this model's tokens, only an end is allowed and `complete` stays False. A parser that gives up, at a limit
    of its own, raises RequestError.
    """

    def __init__(self, start: Any, ends: frozenset[int], vocab: int) -> None:
        self.ended = self.complete = False
        self._start, self._ends, self._vocab = start, ends, vocab
        self._at = start.deep_copy()
        self._text: list[int] = []
        self._ahead: list[int] = []  # what the parser has read beyond the committed text
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}

    def allowed(self, path: Sequence[int] = ()) -> torch.Tensor:
        """What may follow the committed text and `path`: bool [V], at least one True. Behind an end or something forbidden,
        where no walk comes, only an end may.
        """
        key = tuple(path)
        if key not in self._masks:
            self._masks[key] = self._mask(key)
        return self._masks[key]

    def forced(self, limit: int) -> list[int]:
        """Up to `limit` tokens that the grammar forces next, an end included."""
        path: list[int] = []
        while len(path) < limit and self._move(path):
            more = self._at.compute_ff_tokens() or self._only(path)
            if not more:
                break
            path += more
        return path[:limit]

    def advance(self, token: int) -> None:
        """Commit a token."""
        if token in self._ends:
            self.ended, self.complete = True, self._move(()) and self._at.is_accepting()
        else:
            if self._ahead[:1] != [token]:
                self._move((token,))
            self._text.append(token)
            del self._ahead[:1]
        self._masks.clear()

    def _only(self, path: Sequence[int]) -> list[int]:
        allowed = self.allowed(path)
        return [int(allowed.int().argmax())] if int(allowed.sum()) == 1 else []

    def _mask(self, path: Sequence[int]) -> torch.Tensor:
        mask = np.zeros(self._vocab, dtype=bool)
        ends = list(self._ends)
        if self._move(path):
            accepting = self._at.is_accepting()
            bits = np.unpackbits(np.frombuffer(self._at.compute_bitmask(), np.uint8), bitorder="little")[: self._vocab]
            mask[: len(bits)] = bits
            mask[ends] = accepting  # an end may be ordinary text to the parser
            if self._at.is_error():
                self._restart()
        if not mask.any():
            mask[ends] = True
        return torch.from_numpy(mask)

    def _move(self, path: Sequence[int]) -> bool:
        """Stand after `path`; False where it has an end or something forbidden, and then before that."""
        same = 0
        while same < min(len(self._ahead), len(path)) and self._ahead[same] == path[same]:
            same += 1
        if len(self._ahead) > same:
            self._at.rollback(len(self._ahead) - same)
            del self._ahead[same:]
        rest = list(path[same:])
        ended = next((i for i, token in enumerate(rest) if token in self._ends), len(rest))
        read = self._at.try_consume_tokens(rest[:ended])
        self._ahead += rest[:read]
        if self._at.is_error():
            self._restart()
            return False
        return read == len(rest)

    def _restart(self) -> None:
        """A parser that has met a dead end cannot go back, so another one reads the text. Raises RequestError for one that gave
        up.
        """
        if not self._at.get_error().startswith(DEAD_END):
            raise RequestError(f"The grammar is too complex for its parser after {len(self._text)} tokens: "
                               f"{_first(self._at.get_error())}. Simplify it.")
        self._at = self._start.deep_copy()
        self._at.try_consume_tokens(self._text)
        self._ahead.clear()


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise ModelError(EXTRA) from error
    return llguidance


def _try(grammar: Grammar, tokens: Any) -> tuple[Any, str]:
    """A parser at its start, and what is wrong with the grammar, "" if nothing. A `format` that the library does not know is left
    out, as the standard of JSON schemas allows, with a note in the log.
    """
    library = _library()
    try:
        source = _source(grammar, library.LLMatcher)
    except ValueError as error:
        return None, str(error)
    matcher = library.LLMatcher(tokens, source, log_level=0, limits=library.LLParserLimits(**LIMITS, verbose_errors=False))
    unknown = UNKNOWN_FORMAT.search(matcher.get_error())
    if unknown is None or grammar.kind != "json_schema":
        return matcher, matcher.get_error()
    log.warning("The JSON schema's format %r is unknown here and does not bind the text.", unknown[1])
    return _try(replace(grammar, text=json.dumps(_without_format(json.loads(grammar.text), unknown[1]))), tokens)


def _source(grammar: Grammar, library: Any) -> str:
    """The grammar in the library's own language."""
    if grammar.kind == "json_schema":
        return library.grammar_from_json_schema(grammar.text, overrides={} if grammar.free_spacing else ONE_LINE)
    if grammar.kind == "choice":
        options = (json.dumps(option, ensure_ascii=False) for option in json.loads(grammar.text))
        return library.grammar_from_lark(f"start: {' | '.join(options)}")
    return (library.grammar_from_regex if grammar.kind == "regex" else library.grammar_from_lark)(grammar.text)


def _without_format(schema: Any, name: str) -> Any:
    """A schema without a format of this name, wherever it stands."""
    if isinstance(schema, list):
        return [_without_format(part, name) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: part if key in VALUES else _without_format(part, name) for key, part in schema.items()
            if not (key == "format" and part == name)}


def _place(grammar: Grammar, tokens: Any) -> str:
    """An innermost part of a schema that is to blame for the complaint, like `properties.age`. At each level it is the last of
    the fewest parts, from the first on, without which the complaint is another one: few tries tell it among many.
    """
    schema, complaint, place = json.loads(grammar.text), _try(grammar, tokens)[1], list[Any]()

    def heals(keys: Sequence[Any]) -> bool:
        without = replace(grammar, text=json.dumps(_emptied(schema, place, keys)))
        return _try(without, tokens)[1] != complaint

    while heals(keys := list(_parts(schema, place))):
        fine = bisect_left(range(len(keys)), True, key=lambda last: heals(keys[: last + 1]))
        schema = _emptied(schema, place, keys[:fine])
        place.append(keys[fine])
    return ".".join(map(str, place))


def _emptied(schema: Any, place: Sequence[Any], keys: Sequence[Any]) -> Any:
    """A copy of a schema whose part at `place` lacks the lists, and allows anything in the schemas, that these keys name."""
    without = copy.deepcopy(schema)
    part = _at(without, place)
    for key in keys:
        if isinstance(part, dict) and isinstance(part[key], list):
            del part[key]
        else:
            part[key] = {}
    return without


def _parts(schema: Any, place: Sequence[Any]) -> Iterator[Any]:
    """Keys or places of the objects and lists right inside a part of a schema."""
    part = _at(schema, place)
    for key in part if isinstance(part, dict) else range(len(part)):
        if isinstance(part[key], dict | list):
            yield key


def _at(schema: Any, place: Sequence[Any]) -> Any:
    for key in place:
        schema = schema[key]
    return schema


def _first(error: Any) -> str:
    """What a message of the library says, without the picture around it."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or lines or ["unknown"])[-1 if said else 0].rstrip(".:")
