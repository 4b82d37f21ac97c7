"""From what a user gives as a prompt to token ids: text, chat messages, ids in any common form, or a tokenizer's own answer."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from paceline.checks import characters
from paceline.conversation import conversation, short
from paceline.errors import RequestError

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
    if not is_chat(given):
        return text_ids(lm.tokenizer, given)
    return list(lm.tokenizer(conversation(lm.tokenizer, given, tools), add_special_tokens=False)["input_ids"])


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


def refused(given: Any) -> RequestError:
    return RequestError(f"A prompt must be {KINDS}; found {short(given)} ({type(given).__name__}).")
