"""Tools, calls and their results in words, for chat templates that know none of them.

They are written as Hermes and Qwen models write them, so that `formats/tagged.py` parses and drafts what is answered. A model
that never learned to call tools may still answer in its own way.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paceline.core.checks import short
from paceline.errors import RequestError
from paceline.toolcalls.formats.tagged import TAGGED

__all__ = ["calls_described", "in_front", "tools_described"]

Messages = list[dict[str, Any]]


def tools_described(functions: Sequence[Mapping[str, Any]]) -> str:
    """What a system message says of tools. functions: as `as_functions` gives them."""
    told = "\n".join(as_json(tool.get("function", tool)) for tool in functions)
    example = f'{TAGGED.opening}{{"name": ..., "arguments": {{...}}}}{TAGGED.closing}'
    return (f"You can call these tools:\n<tools>\n{told}\n</tools>\nTo call a tool, write its name and arguments as JSON:\n"
            f"{example}")


def calls_described(messages: Messages) -> Messages:
    """The same conversation with each call in the text of its message, and each result in a message of the user's: roles that
    every template has.
    """
    told = Messages()
    for i, message in enumerate(messages):
        if message["role"] == "tool":
            told.append({"role": "user", "content": f"<tool_response>\n{message.get('content') or ''}\n</tool_response>"})
        elif message.get("tool_calls"):
            told.append({"role": message["role"], "content": joined(message.get("content"), calls(message, f"messages[{i}]"))})
        else:
            told.append(message)
    return told


def calls(message: Mapping[str, Any], where: str) -> str:
    """A message's calls as the model would have written them."""
    return TAGGED.opening + TAGGED.between.join(
        call(given, f"{where}.tool_calls[{i}]") for i, given in enumerate(message["tool_calls"])) + TAGGED.closing


def call(given: Any, where: str) -> str:
    made = given.get("function", given) if isinstance(given, Mapping) else None
    if not isinstance(made, Mapping) or not isinstance(made.get("name"), str):
        raise RequestError(f'{where} must be a call like {{"function": {{"name": "…", "arguments": {{…}}}}}}; found '
                           f"{short(given)}.")
    arguments = made.get("arguments") or {}
    arguments = arguments if isinstance(arguments, str) else as_json(arguments)  # OpenAI writes them as text, which is JSON
    return f'{{"name": {as_json(made["name"])}, "arguments": {arguments}}}'


def in_front(messages: Messages, text: str, role: str) -> Messages:
    """The conversation with a text in the first message of a role: behind what a system message says, before what a user asks."""
    at = next((i for i, message in enumerate(messages) if message["role"] == role), None)
    if at is None:
        return [{"role": role, "content": text}, *messages]
    before = messages[at].get("content")
    content = joined(before, text) if role == "system" else joined(text, before)
    return [*messages[:at], {**messages[at], "content": content}, *messages[at + 1 :]]


def joined(*parts: str | None) -> str:
    return "\n\n".join(filter(None, parts))


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
