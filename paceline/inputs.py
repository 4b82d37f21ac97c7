"""From what a user gives as a prompt to token ids: text, chat messages, ids in any common form, or a tokenizer's own answer."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from paceline.checks import characters
from paceline.errors import RequestError
from paceline.lookup.schema import as_functions

__all__ = ["Prompt", "encode", "listed"]

Prompt = str | Sequence[int] | Sequence[dict[str, Any]]
KINDS = "text, token ids (a list, a tensor or an array), chat messages, or what a tokenizer returns"


def listed(prompts: Any) -> list[Any]:
    """One prompt or several, as a list: a text, ids in one dimension and a list of messages are each one prompt; a tokenizer's
    answer and ids in two dimensions are as many as they have rows.
    """
    if isinstance(prompts, str):
        return [prompts]
    if isinstance(prompts, Mapping) or hasattr(prompts, "tolist"):
        return rows(prompts)
    if not isinstance(prompts, Iterable) or isinstance(prompts, bytes | bytearray | set | frozenset):
        raise refused(prompts)
    found = list(prompts)
    return [found] if found and isinstance(found[0], Integral) or is_chat(found) else found


def encode(lm: Any, prompt: Any, tools: Sequence[dict] | None = None) -> list[int]:
    """Token ids of a text (with the tokenizer's special tokens), of chat messages (through its template), or as given."""
    one = listed(prompt)
    if not one:
        return []
    if len(one) > 1 or one[0] is None:
        raise RequestError(f"Expected one prompt: {KINDS}; found {len(one)} values, the first of them {short(one[0])}.")
    given = one[0]
    if not isinstance(given, str) and not is_chat(given):
        return ids(given)
    if lm.tokenizer is None:
        raise RequestError("This model has no tokenizer: give token ids instead of text.")
    return chat_ids(lm.tokenizer, given, tools) if is_chat(given) else text_ids(lm.tokenizer, given)


def is_chat(prompt: Any) -> bool:
    """Whether this is a list of messages: plain dicts, rightly made or not, but no tokenizer's answers."""
    return isinstance(prompt, list | tuple) and len(prompt) > 0 and isinstance(prompt[0], dict) and "input_ids" not in prompt[0]


def rows(given: Any) -> list[list[int]]:
    """The prompts in a tokenizer's answer (without its padding), a tensor or an array."""
    if not isinstance(given, Mapping):
        table = given.tolist()
        deep = isinstance(table, list) and bool(table) and isinstance(table[0], list)
        return [ids(row) for row in (table if deep else [table])]
    if "input_ids" not in given:
        raise refused(given)
    prompts, masks = listed(given["input_ids"]), given.get("attention_mask")
    kept = [[1] * len(prompt) for prompt in prompts] if masks is None else listed(masks)
    return [[t for t, keep in zip(ids(p), mask, strict=True) if keep] for p, mask in zip(prompts, kept, strict=True)]


def ids(given: Any) -> list[int]:
    """Whole numbers, one for each token."""
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | bytearray | set | frozenset | Mapping):
        found = list(given)
        if all(isinstance(t, Integral) and not isinstance(t, bool) for t in found):
            return [int(t) for t in found]
    raise refused(given)


def text_ids(tokenizer: Any, text: str) -> list[int]:
    if not text:
        raise RequestError("The prompt is empty: give at least one character.")
    return list(tokenizer(characters("The prompt", text))["input_ids"])


def chat_ids(tokenizer: Any, messages: Sequence[Any], tools: Sequence[dict] | None) -> list[int]:
    """Messages through the chat template. Raises RequestError where it refuses them, or does not show the tools."""
    if not getattr(tokenizer, "chat_template", None):
        raise RequestError("This model's tokenizer has no chat template: give plain text instead of messages.")
    said = [message(m, f"messages[{i}]") for i, m in enumerate(messages)]
    plain = templated(tokenizer, said, None)
    if not tools:
        return plain
    told = templated(tokenizer, said, as_functions(tools))
    if told == plain:
        raise RequestError("This model's chat template knows no tools, so the answer would never have seen them: describe them "
                           "in a system message, or take a model whose template does.")
    return told


def templated(tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> list[int]:
    try:
        out = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, tools=tools, add_generation_prompt=True)
    except Exception as error:  # a template is a program of the model's maker, and may raise anything
        roles = ", ".join(dict.fromkeys(m["role"] for m in messages))
        why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise RequestError(f"This model's chat template refuses these messages (roles: {roles}): {why}. Some take no system "
                           "message, or only user and assistant in turns.") from error
    return list(out["input_ids"])


def message(given: Any, where: str) -> dict[str, Any]:
    """One message of a chat, its content as one text. Raises RequestError with its place."""
    if not isinstance(given, Mapping) or not isinstance(given.get("role"), str):
        raise RequestError(f'{where} must be a message like {{"role": "user", "content": "…"}}; found {short(given)}.')
    content = given.get("content")
    if isinstance(content, list) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        content = "".join(part["text"] for part in content)  # what templates that know parts do with them
    if not isinstance(content, str) and not (content is None and len(given) > 1):
        raise RequestError(f"{where}.content must be text, or a list of parts of type text; found {short(content)}.")
    return {**given, "content": characters(f"{where}.content", content)} if content is not None else dict(given)


def refused(given: Any) -> RequestError:
    return RequestError(f"A prompt must be {KINDS}; found {short(given)} ({type(given).__name__}).")


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
