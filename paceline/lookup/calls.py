"""What may come next in a tool call, as text: openings, tool names, the names of arguments not yet used, values, closings.

Driven by what the text is, not by steps: a lexer reads what has been accepted, so a draft that is rejected moves nothing, and the
second call of an answer is drafted like the first. Source: ToolSpec (arXiv 2604.13519), section 3's states for a tool's name, an
argument's name, a value and other text. Departures: nested objects and arrays, numbers, booleans and choices; `arguments` as well as
`parameters`; several styles of writing a call; values copied from the message; branches that share a beginning share it.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from paceline.lookup.json_lexer import JsonLexer
from paceline.lookup.schema import Parameter, Tool
from paceline.lookup.spans import Span, as_json, candidates, spans_of

__all__ = ["END", "Piece", "STYLES", "Style", "Writing"]

END = "\0"  # stands for the token that ends the answer
SHOWN = 12  # candidates at one place


@dataclass(frozen=True)
class Style:
    """How a format writes calls. opening: what stands before an answer's first call. between: before each further one. closing:
    behind the last. arguments: the key of the arguments. `python`: name(key=value) instead of JSON.
    """

    opening: str
    between: str
    closing: str
    arguments: str = "arguments"
    python: bool = False


STYLES: Mapping[str, Style] = {
    "tagged": Style("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>"),
    "fenced": Style("```<tool_call>\n", "\n", "\n</tool_call>\n```", "parameters"),
    "raw": Style("", "\n", ""),
    "list": Style("[", ", ", "]"),
    "python": Style("[", ", ", "]", python=True),
}


@dataclass(frozen=True)
class Piece:
    """Text that may come next, what it is proposed on, and its rank among its like."""

    text: str
    kind: tuple[Hashable, ...]
