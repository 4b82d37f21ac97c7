"""From what a user gives as a prompt to token ids: text, chat messages, ids in any common form, or a tokenizer's own answer."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Protocol

from paceline.core.checks import characters, plain, short, whole_numbers
from paceline.core.request import Request
from paceline.errors import ModelError, RequestError
from paceline.lm import LM
from paceline.toolcalls.conversation import conversation

__all__ = ["Prompt", "check", "encode", "listed"]

Prompt = str | Sequence[int] | Sequence[dict[str, Any]]
KINDS = "text, token ids (a list, a tensor or an array), chat messages, or what a tokenizer returns"
# What a tokenizer may return beside the ids that changes nothing for a text.
ANSWER = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "special_tokens_mask", "offset_mapping",
          "length", "labels"}


class Tokenized(Protocol):
    """What has a tokenizer, which may be None."""

    @property
    def tokenizer(self) -> Any: ...


def listed(prompts: Any) -> list[Any]:
    """One prompt or several, as a list: a text, ids in one dimension and a list of messages are each one prompt; a tokenizer's
    answer and ids in two dimensions are as many as they have rows.
    """
    given = plain(prompts)
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping):
        return rows(given)
    if not isinstance(given, Iterable) or isinstance(given, bytes | bytearray | set | frozenset):
        raise refused(prompts)
    found = list(given)
    return [found] if found and isinstance(plain(found[0]), Integral) or is_chat(found) else found


def encode(lm: Tokenized, prompt: Any, tools: Sequence[dict] | None = None, describe: bool = True) -> list[int]:
    """Token ids of a text (with the tokenizer's special tokens), of chat messages (through its template), or as given. describe:
    as `conversation` says.
    """
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
    return list(lm.tokenizer(conversation(lm.tokenizer, given, tools, describe=describe), add_special_tokens=False)["input_ids"])


def check(lm: LM, request: Request) -> None:
    """Raises RequestError for a prompt that this model cannot read, ModelError where its text would grow beyond what it can."""
    n, context, switch = max(map(len, request.prompts)), lm.context, lm.rope_switch
    if n >= context:
        raise RequestError(f"The prompt has {n} tokens, this model's context is {context}: shorten it by {n - context + 1}.")
    if switch is not None and n + request.max_new_tokens > switch:
        raise ModelError(f"This model's rotary embedding changes beyond {switch} tokens, which would invalidate cached keys: "
                         f"prompt ({n}) and max_new_tokens ({request.max_new_tokens}) must stay within it together.")
    bad = next((t for prompt in request.prompts for t in prompt if not 0 <= t < lm.vocab), None)
    if bad is not None:
        raise RequestError(f"The prompt has token {bad}; ids run from 0 to {lm.vocab - 1}.")


def is_chat(prompt: Any) -> bool:
    """Whether this is a list of messages: mappings, rightly made or not, but no tokenizer's answers."""
    first = prompt[0] if isinstance(prompt, list | tuple) and prompt else None
    return isinstance(first, Mapping) and "input_ids" not in first


def rows(given: Mapping[str, Any]) -> list[list[int]]:
    """The prompts in a tokenizer's answer, without its padding. Raises RequestError for what is none, and for what would have to
    be left out, such as pictures.
    """
    if "input_ids" not in given:
        raise refused(given)
    if unread := sorted(set(given) - ANSWER):
        raise RequestError(f"Only token ids and their mask are decoded; the prompt also holds {', '.join(unread)}.")
    prompts, masks = [ids(row) for row in listed(given["input_ids"])], given.get("attention_mask")
    kept = [[1] * len(prompt) for prompt in prompts] if masks is None else [list(mask) for mask in listed(masks)]
    if [*map(len, kept)] != [*map(len, prompts)]:
        raise RequestError("attention_mask must be as long as input_ids, row by row; found lengths "
                           f"{short([*map(len, kept)])} for {short([*map(len, prompts)])}.")
    return [[t for t, keep in zip(p, mask, strict=True) if keep] for p, mask in zip(prompts, kept, strict=True)]


def ids(given: Any) -> list[int]:
    """Whole numbers, one for each token."""
    if (found := whole_numbers(given)) is None:
        raise refused(given)
    return found


def text_ids(tokenizer: Any, text: str) -> list[int]:
    if not text:
        raise RequestError("The prompt is empty: give at least one character.")
    return list(tokenizer(characters("The prompt", text))["input_ids"])


def refused(given: Any) -> RequestError:
    return RequestError(f"A prompt must be {KINDS}; found {short(given)} ({type(given).__name__}).")
