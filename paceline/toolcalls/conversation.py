"""A conversation as text: messages and tools through a tokenizer's chat template; what it does not take is one clear sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from paceline.core.checks import characters, short
from paceline.core.protocols import Tokenizer
from paceline.errors import DataError, RequestError
from paceline.toolcalls.schema import as_functions

__all__ = ["conversation", "tools_of"]


def conversation(tokenizer: Tokenizer, messages: Any, tools: Sequence[Mapping[str, Any]] | None = None,
                 reply: bool = True, unseen: bool = False) -> str:
    """The text of a conversation. messages: a list of {"role", "content"}. reply: end it where the model's own reply begins.
    unseen: go on where the template leaves the tools out, as benchmarks may, whose answers nobody reads.

    Raises RequestError where there is no template, for messages that are none, for those that it refuses, and for tools that it
    would leave out without a word.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise RequestError("This model's tokenizer has no chat template: give plain text instead of messages.")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RequestError(f'Expected messages, a list of {{"role": …, "content": …}}; found {short(messages)}.')
    said = [message(m, f"messages[{i}]") for i, m in enumerate(messages)]
    told = templated(tokenizer, said, reply, as_functions(tools) if tools else None)
    if tools and not unseen and told == templated(tokenizer, said, reply, None):
        raise RequestError("This model's chat template knows no tools, so the answer would never have seen them: describe them "
                           "in a system message, or take a model whose template does.")
    return characters("The conversation", told)


def templated(tokenizer: Tokenizer, messages: list[dict[str, Any]], reply: bool, tools: list[dict[str, Any]] | None) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, tools=tools, add_generation_prompt=reply))
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
    return {**given, "content": characters(f"{where}.content", content)} if content is not None else dict(given)


def tools_of(record: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The tools of a record in a file; none where there are none, or null. Raises DataError for what is no list of objects."""
    tools = record.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{where}: expected 'tools' to be a list of JSON objects; found {short(tools)}.")
    return tools
