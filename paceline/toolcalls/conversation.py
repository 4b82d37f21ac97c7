"""A conversation as text: messages and tools through a tokenizer's chat template; what it does not take is one clear sentence."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from paceline.core.checks import characters, short
from paceline.core.protocols import Tokenizer
from paceline.errors import DataError, RequestError
from paceline.toolcalls.described import calls_described, in_front, tools_described
from paceline.toolcalls.schema import as_functions

__all__ = ["conversation", "tools_of"]

Messages = list[dict[str, Any]]
Functions = list[dict[str, Any]] | None

log = logging.getLogger("paceline")


def conversation(tokenizer: Tokenizer, messages: Any, tools: Sequence[Mapping[str, Any]] | None = None,
                 reply: bool = True, describe: bool = True) -> str:
    """The text of a conversation. messages: a list of {"role", "content"}. reply: end it where the model's own reply begins.
    describe: tools and calls that the template leaves out are told in words (`described.py`), which the log says once.

    Raises RequestError where there is no template, for messages that are none, for those that it refuses, and, without describe,
    for tools and calls that it leaves out.
    """
    if not tokenizer.chat_template:
        raise RequestError("This model's tokenizer has no chat template: give plain text instead of messages.")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RequestError(f'Expected messages, a list of {{"role": …, "content": …}}; found {short(messages)}.')
    said = [message(m, f"messages[{i}]") for i, m in enumerate(messages)]
    functions = as_functions(tools) if tools else None
    told = in_words(tokenizer, said, functions, reply, describe) or templated(tokenizer, said, functions, reply)
    return characters("The conversation", told)


def in_words(tokenizer: Tokenizer, said: Messages, functions: Functions, reply: bool, describe: bool) -> str | None:
    """The text with the calls and tools in words that the template leaves out; None where it leaves nothing out."""
    silent, lost = [{key: value for key, value in m.items() if key != "tool_calls"} for m in said], []
    if silent != said and attempt(tokenizer, said, functions, reply) in (None, attempt(tokenizer, silent, functions, reply)):
        said = calls_described(said)
        lost.append("tool calls")
    if functions and attempt(tokenizer, said, functions, reply) in (None, attempt(tokenizer, said, None, reply)):
        lost.append("tools")
    if not lost:
        return None
    plain = templated(tokenizer, said, None if "tools" in lost else functions, reply)  # raises whatever else is wrong
    if not describe:
        raise RequestError(f"This model's chat template knows no {' and no '.join(lost)}, so the answer would never have seen "
                           "them: tell them in a system message, or let Paceline do so (describe_tools).")
    told = with_tools(tokenizer, said, functions or [], reply) if "tools" in lost else plain
    for what in lost:
        note(what)
    return told


def attempt(tokenizer: Tokenizer, messages: Messages, functions: Functions, reply: bool) -> str | None:
    """The text; None where the template refuses."""
    try:
        return templated(tokenizer, messages, functions, reply)
    except RequestError:
        return None


def with_tools(tokenizer: Tokenizer, said: Messages, functions: Messages, reply: bool) -> str:
    """The conversation with its tools in words: in a system message, or in the user's first where the template shows none."""
    text = tools_described(functions)
    for role in ("system", "user"):
        told = attempt(tokenizer, in_front(said, text, role), None, reply)
        if told is not None and text in told:
            return told
    raise RequestError("This model's chat template knows no tools and shows no message that could tell of them: leave them out.")


@cache
def note(what: str) -> None:
    """Say it once in a process."""
    log.warning("Note: this model's chat template knows no %s, so they are told in words.", what)


def templated(tokenizer: Tokenizer, messages: Messages, functions: Functions, reply: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, tools=functions, add_generation_prompt=reply))
    except Exception as error:  # a template is a program of the model's maker, and may raise anything
        roles = ", ".join(dict.fromkeys(m["role"] for m in messages))
        why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise RequestError(f"This model's chat template refuses these messages (roles: {roles}): {why}. Some take no system "
                           "message, or only user and assistant in turns.") from error


def message(given: Any, where: str) -> dict[str, Any]:
    """One message, its content as one text. Raises RequestError with its place."""
    if not isinstance(given, Mapping) or not isinstance(given.get("role"), str):
        raise RequestError(f'{where} must be a message like {{"role": "user", "content": "…"}}; found {short(given)}.')
    content = given.get("content")
    if isinstance(content, list | tuple) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        content = "".join(part["text"] for part in content)  # what templates that know parts do with them
    if not isinstance(content, str) and not (content is None and set(given) - {"role", "content"}):
        raise RequestError(f"{where}.content must be text, or a list of parts of type text; found {short(content)}.")
    return dict(given) if content is None else {**given, "content": characters(f"{where}.content", content)}


def tools_of(record: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The tools of a record in a file; none where there are none, or null. Raises DataError for what is no list of objects."""
    tools = record.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{where}: expected 'tools' to be a list of JSON objects; found {short(tools)}.")
    return tools
