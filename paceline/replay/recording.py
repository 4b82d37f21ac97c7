"""Recorded requests from a file: what was asked and what was written, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.api import encode
from paceline.errors import DataError, PacelineError, RequestError
from paceline.files import json_lines
from paceline.toolcalls.conversation import conversation, tools_of

__all__ = ["Record", "read_recorded"]


@dataclass(frozen=True)
class Record:
    """One request: the prompt, what was written after it with the token that ended it, and whose it was."""

    prompt: tuple[int, ...]
    output: tuple[int, ...]
    ends: frozenset[int] = frozenset()
    tools: tuple[dict[str, Any], ...] = ()
    tenant: str = ""


def read_recorded(path: Path, tokenizer: Any, limit: int | None = None) -> list[Record]:
    """Records of a JSON-lines file, in its order: `{"prompt": …, "output": …}`, text or token ids, or `messages` (with or without
    `tools`) in place of the prompt; `tenant` where there are several.

    An output that is text gets the token that ends a reply (`messages`) or a text (`prompt`) and is cut behind the first one in
    it; ids stay as they are. Text may be cut into tokens in another way than it was written in. Raises DataError with the line.
    """
    turn_end, end = _turn_end(tokenizer), tokenizer.eos_token_id
    found = []
    for where, record in json_lines(path):
        ends = [turn_end if "messages" in record else None, end]
        found.append(_record(record, tokenizer, [e for e in ends if e is not None], where))
        if len(found) == limit:
            break
    if not found:
        raise DataError(f'{path} holds no records: expected one {{"prompt": …, "output": …}} a line.')
    return found


def _record(record: dict[str, Any], tokenizer: Any, ends: list[int], where: str) -> Record:
    tools, tenant = tools_of(record, where), record.get("tenant", "")
    if not isinstance(tenant, str):
        raise DataError(f"{where}: expected 'tenant' to be text; found {tenant!r}.")
    prompt = _prompt(record, tokenizer, tools, where)
    output = _field(record, "output", where)
    if not isinstance(output, str):
        return Record(prompt, _ids(output, "output", where), tools=tuple(tools), tenant=tenant)
    ids = [*tokenizer(output, add_special_tokens=False, verbose=False)["input_ids"], *ends[:1]]
    stop = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return Record(prompt, tuple(ids[: stop + 1]), frozenset(ends), tuple(tools), tenant)


def _prompt(record: dict[str, Any], tokenizer: Any, tools: list[dict[str, Any]], where: str) -> tuple[int, ...]:
    if ("prompt" in record) == ("messages" in record):
        raise DataError(f"{where}: expected one of the fields 'prompt' and 'messages'; found {sorted(record)}.")
    name = "prompt" if "prompt" in record else "messages"
    given = _field(record, name, where)
    if name == "prompt" and not isinstance(given, str):
        return _ids(given, name, where)
    try:
        if name == "messages":
            return tuple(tokenizer(conversation(tokenizer, given, tools), add_special_tokens=False)["input_ids"])
        return tuple(encode(_Words(tokenizer), given))
    except PacelineError as error:
        raise DataError(f"{where}: {error}") from error


@dataclass(frozen=True)
class _Words:
    """What `encode` needs of a model."""

    tokenizer: Any


def _field(record: dict[str, Any], name: str, where: str) -> Any:
    """A field that is there, and is text or a list that is not empty."""
    if name not in record:
        raise DataError(f"{where}: expected the field {name!r}; found {sorted(record)}.")
    value = record[name]
    if not isinstance(value, str | list) or not value:
        raise DataError(f"{where}: expected {name!r} to be text or a list, and not empty; found {value!r}.")
    return value


def _ids(value: Sequence[Any], name: str, where: str) -> tuple[int, ...]:
    bad = [token for token in value if not isinstance(token, int) or isinstance(token, bool) or token < 0]
    if bad:
        raise DataError(f"{where}: expected {name!r} to be text or token ids; found {str(bad[0])[:40]!r} in it.")
    return tuple(value)


def _turn_end(tokenizer: Any) -> int | None:
    """The token with which the chat template ends a reply; None without a template, or where a reply ends in other ways."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "REPLY"}]
    try:
        tail = conversation(tokenizer, said, reply=False).rpartition("REPLY")[2]
    except RequestError:
        return None
    first = tokenizer(tail, add_special_tokens=False)["input_ids"][:1]
    return first[0] if first and first[0] in tokenizer.added_tokens_decoder else None
