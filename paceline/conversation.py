"""A conversation as text: messages and tools through a tokenizer's chat template; what it does not take is one clear sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from paceline.errors import DataError, RequestError
from paceline.files import HALF
from paceline.lookup.schema import as_functions

__all__ = ["conversation", "tools_of"]

Message = Mapping[str, Any]


def conversation(tokenizer: Any, messages: Any, tools: Sequence[Mapping[str, Any]] | None = None,
                 reply: bool = True) -> str:
    """The text of a conversation. messages: a list of {"role", "content"}. reply: end it where the model's own reply begins.

    Raises RequestError where there is no template, for messages that are none, and for those that the template does not know or
    refuses.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise RequestError("This model's tokenizer has no chat template: give plain text instead of messages.")
    check(messages)
    if any(isinstance(message.get("content"), list) for message in messages) and not knows_parts(tokenizer):
        raise RequestError("Expected the content of a message to be text; found a list of parts, which this model's chat "
                           "template does not know: join their texts.")
    try:
        text = templated(tokenizer, messages, tools=as_functions(tools) if tools else None, add_generation_prompt=reply)
    except Exception as error:  # a template is a program of the model's author, and fails as it likes
        why = str(error).rstrip(".") or type(error).__name__
        raise RequestError(f"This model's chat template does not take the messages: {why}.") from error
    if half := HALF.search(text):
        raise RequestError(f"Expected messages of whole characters; found half a surrogate pair, {ascii(half[0])}.")
    return text


def check(messages: Any) -> None:
    """Raise RequestError unless these are messages, at least one."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RequestError(f'Expected messages, a list of {{"role": …, "content": …}}; found {short(messages)}.')
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise RequestError(f'Expected message {number} to be {{"role": …, "content": …}}; found {short(message)}.')
        if not isinstance(message.get("content"), str | list | None):
            raise RequestError(f"Expected the content of message {number} to be text; found {short(message['content'])}.")


def knows_parts(tokenizer: Any) -> bool:
    """Whether the template writes content in parts as it writes text, rather than the list itself."""
    try:
        text, parts = (templated(tokenizer, [{"role": "user", "content": content}])
                       for content in ("a", [{"type": "text", "text": "a"}]))
    except Exception:  # any template's own error: it does not
        return False
    return text == parts


def templated(tokenizer: Any, messages: Sequence[Message], **options: Any) -> str:
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))


def tools_of(record: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The tools of a record in a file; none where there are none, or null. Raises DataError for what is no list of objects."""
    tools = record.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{where}: expected 'tools' to be a list of JSON objects; found {short(tools)}.")
    return tools


def short(value: Any) -> str:
    return repr(value)[:40]
