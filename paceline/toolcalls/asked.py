"""What a request offers to whoever drafts a call for it, and the pieces of text that such drafts are made of."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from paceline.toolcalls.schema import Parameter, Tool
from paceline.toolcalls.spans import PARTS, candidates, spans_of

__all__ = ["END", "SHOWN", "Asked", "Piece"]

END = "\0"  # stands for the token that ends the answer
SHOWN = 12  # candidates at one place


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that may come next, and what it is proposed on: whose chance is learned."""

    text: str
    kind: tuple[Hashable, ...]


class Asked:
    """One request: its tools, the likeliest first, its message with the values in it, and the format that its prompt shows."""

    def __init__(self, tools: Sequence[Tool], message: str, format: str) -> None:
        self.message, self.spans, self.format = message, spans_of(message), format
        lowered = message.lower()
        words = {tool.name: [w for w in PARTS.findall(tool.name.lower()) if len(w) > 2] for tool in tools}
        ranked = sorted(tools, key=lambda tool: -sum(w in lowered for w in words[tool.name]) / max(1, len(words[tool.name])))
        self.tools = {tool.name: tool for tool in ranked}
        self._values: dict[tuple[str, ...], list[str]] = {}

    def values(self, parameter: Parameter) -> list[str]:
        """Candidates for a parameter, made once."""
        key = parameter.name, parameter.type, str(parameter.format), repr(parameter.enum)  # a choice may be any JSON
        if key not in self._values:
            self._values[key] = candidates(parameter, self.spans, self.message)
        return self._values[key]
