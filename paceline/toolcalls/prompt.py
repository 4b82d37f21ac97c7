"""Tools from the text that describes them to a model: for requests that bring a rendered prompt and no list of tools.

Requests come with the same tools again and again, so what was read lately is kept.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from paceline.errors import DataError
from paceline.toolcalls.schema import Tool, looks_like_a_tool, read_tool, read_tools

__all__ = ["native_tools", "tools_given", "tools_in", "tools_told"]

BLOCK = re.compile(r"<tools>(.*?)</tools>", re.S)
ENTRY = re.compile(r"\d+\. Name: (.+?)\nDescription: (.*?)\nParameters: (\{.*?\})(?=\n\d+\. Name|\n\n|\n*$)", re.S)
LINE_START = re.compile(r"^[ \t]*(?=[\[{])", re.M)
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}


def tools_given(tools: Sequence[Any]) -> tuple[Tool, ...]:
    """Of a list of them, as `read_tools`."""
    return _given(json.dumps(list(tools), default=str))


@lru_cache(maxsize=64)
def _given(text: str) -> tuple[Tool, ...]:
    return read_tools(json.loads(text))


def tools_in(prompt: str) -> tuple[Tool, ...]:
    """The tools a prompt lists: in `<tools>` blocks, as API-Bank's numbered lines, or else as JSON at the start of a line.

    A tool that is described twice in the same way counts once. Raises DataError for broken JSON in a `<tools>` block, for a tool
    that is not described as it should be, and for two different tools of one name.
    """
    found = list(_blocks(prompt)) or list(_numbered(prompt)) or list(_bare(prompt))
    tools: dict[str, Tool] = {}
    for tool in found:
        if tools.setdefault(tool.name, tool) != tool:
            raise DataError(f"The prompt: expected one description of the tool {tool.name!r}; found two that differ.")
    return tuple(tools.values())


def tools_told(prompt: str) -> tuple[Tool, ...]:
    """The same; none where they cannot be read, since a prompt may say anything."""
    try:
        return tools_in(prompt)
    except DataError:
        return ()


def _blocks(prompt: str) -> Iterator[Tool]:
    """Of `<tools>` blocks: one JSON list, or one tool a line. An empty block, as instructions mention it, holds none."""
    for number, block in enumerate(BLOCK.findall(prompt)):
        yield from _block(block, f"<tools>[{number}]" if number else "<tools>")


@lru_cache(maxsize=64)
def _block(block: str, where: str) -> tuple[Tool, ...]:
    texts = [block] if block.lstrip().startswith("[") else filter(str.strip, block.split("\n"))  # strings may hold U+2028
    return tuple(tool for text in texts for tool in read_tools(_parsed(text, where), where))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        found = text.strip()[:40]
        raise DataError(f"{where}: expected a JSON list, or one JSON object a line; found {found!r} ({error}).") from error


def _numbered(prompt: str) -> Iterator[Tool]:
    """Of API-Bank's lines, which give a map of parameters instead of a schema."""
    return (_entry(name, literal) for name, _, literal in ENTRY.findall(prompt))


@lru_cache(maxsize=256)
def _entry(name: str, literal: str) -> Tool:
    return read_tool({"name": name, "parameters": _fields(literal)}, name)


def _bare(prompt: str) -> Iterator[Tool]:
    """Of JSON that begins a line: a list of tools, or tools one after the other; other JSON is passed over."""
    decoder, stop = json.JSONDecoder(), 0
    for start in LINE_START.finditer(prompt):
        if start.end() < stop:
            continue
        try:
            value, stop = decoder.raw_decode(prompt, start.end())
        except ValueError:
            continue
        value = value.get("tools", value) if isinstance(value, dict) else value
        if value and all(map(looks_like_a_tool, value if isinstance(value, list) else [value])):
            yield from read_tools(value, "The prompt's tools")


def native_tools(system: str) -> list[dict[str, Any]]:
    """The tools that an API-Bank system prompt lists, as JSON schemas; types unknown here read as string.

    Its lines are `1. Name: …`, `Description: …` and `Parameters: {…}`, the last as Python writes a dict.
    """
    return [{"name": name, "description": d, "parameters": _schema(_fields(text))} for name, d, text in ENTRY.findall(system)]


def _schema(fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    properties = {}
    for name, field in fields.items():
        kind = TYPES.get(str(field.get("type", "str")).split("(")[0], "string")
        properties[name] = {"type": kind, "description": field.get("description", "")}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _fields(literal: str) -> dict[str, dict[str, Any]]:
    """Parameters as Python writes a dict; none where they cannot be read."""
    try:
        fields = ast.literal_eval(literal)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        fields = {}
    fields = fields if isinstance(fields, dict) else {}
    return {str(k): v if isinstance(v, dict) else {"type": str(v)} for k, v in fields.items()}
