"""Prompts: the four kinds of text shipped here, held-out data from a folder, or the user's own file. Knows no drafter.

A prompt is plain text (code, prose) or a conversation, put through the model's own chat template (math, tools,
Spec-Bench).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from paceline.errors import DataError, RequestError, did_you_mean
from paceline.files import json_lines, read_json, read_text
from paceline.toolcalls.conversation import conversation, tools_of

__all__ = ["KINDS", "OF_DATA", "SPEC_BENCH", "Prompt", "asked", "bare", "builtin", "encode", "from_data", "read_prompts"]

KINDS = ("code", "math", "tools", "prose")
MT_BENCH = frozenset(["writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"])
SPEC_BENCH = ("mt_bench", "translation", "summarization", "qa", "math_reasoning", "rag")  # its groups
OF_DATA = ("spec_bench", *SPEC_BENCH, "api_bank", "bfcl", "long_summaries")  # kinds that no shipped set has
ASKING = {"code": "Complete this Python code.", "prose": "Go on with this text."}
ARTICLE = re.compile(r"^ = [^=].*[^=] = $", re.M)
FOLDER = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Prompt:
    """One benchmark prompt: `text` to continue, or `turns` a user says, with the `tools` a reply may call. `tokens`: the text is
    cut so that it and the `tail` behind it are so many. answer: what a file says follows the text. where: the file and line it
    comes from.
    """

    kind: str
    text: str | None = None
    turns: tuple[str, ...] = ()
    system: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tail: str = ""
    tokens: int | None = None
    answer: str = ""
    where: str = field(default="", compare=False)

    def messages(self, answers: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """The conversation up to the next open turn, given the answers so far."""
        opening = [{"role": "system", "content": self.system}] if self.system else []
        said = [{"role": "user", "content": turn} for turn in self.turns[: len(answers) + 1]]
        replies = [{"role": "assistant", "content": answer} for answer in answers]
        return opening + [m for pair in zip(said, [*replies, None], strict=True) for m in pair if m]


def builtin(kind: str) -> list[Prompt]:
    """The shipped prompts of one kind of text: code, math, tools or prose."""
    if kind in OF_DATA:
        raise DataError(f"The prompts of {kind} are in none of the shipped sets: name a folder of public data sets with --data.")
    if kind not in KINDS:
        raise DataError(f"There is no task {kind!r}.{did_you_mean(kind, (*KINDS, *OF_DATA))}")
    return read_prompts(FOLDER / f"{kind}.jsonl", kind)


def asked(prompt: Prompt) -> Prompt:
    """A plain text as a user would ask for its continuation; a conversation as it is."""
    if prompt.text is None:
        return prompt
    fence = ("```python\n", "\n```") if prompt.kind == "code" else ("", "")
    ask = ASKING.get(prompt.kind, "Go on with this.")
    return replace(prompt, text=None, turns=(f"{ask}\n\n{prompt.text.rstrip().join(fence)}",))


def read_prompts(path: Path, kind: str | None = None) -> list[Prompt]:
    """Prompts from a JSON-lines file: Spec-Bench records (`turns`, `category`) or `{"prompt": …}`. Raises DataError
    with the line.
    """
    return [_prompt(record, kind, where) for where, record in json_lines(path)]


def _prompt(record: dict[str, Any], kind: str | None, where: str) -> Prompt:
    kind = kind or str(record.get("category", "prompts"))
    if isinstance(record.get("prompt"), str) and record["prompt"]:
        return Prompt(kind, text=record["prompt"], answer=str(record.get("answer") or ""), where=where)
    turns, system = record.get("turns"), record.get("system")
    if not isinstance(system, str | None):
        raise DataError(f"{where}: expected 'system' to be text; found {system!r}.")
    if isinstance(turns, list) and turns and all(isinstance(turn, str) and turn for turn in turns):
        return Prompt(kind, turns=tuple(turns), system=system, tools=tuple(tools_of(record, where)), where=where)
    raise DataError(f'{where}: expected {{"prompt": "…"}} or {{"turns": ["…"]}}; found the fields {sorted(record)}.')


def from_data(kind: str, folder: Path) -> list[Prompt]:
    """Held-out prompts of one kind from a folder of public data sets, each in the layout its authors publish.

    code: `humaneval/problems.jsonl`; math: `gsm8k/test.jsonl`; api_bank: `api_bank/level-2.json`; bfcl: `bfcl/parallel.json`;
    tools: both; prose and long_summaries: `wikitext-2/test.txt`; spec_bench, and the first turns of one of its groups:
    `spec_bench/question.jsonl`.
    """
    readers: dict[str, Callable[[Path], list[Prompt]]] = {
        "code": _humaneval, "math": _gsm8k, "tools": _tools, "prose": _wikitext, "spec_bench": _spec_bench,
        "api_bank": _api_bank, "bfcl": _bfcl, "long_summaries": _long_summaries,
        **{group: partial(_spec_bench_group, group) for group in SPEC_BENCH},
    }  # fmt: skip
    if kind not in readers:
        raise DataError(f"There is no task {kind!r}.{did_you_mean(kind, readers)}")
    try:
        return readers[kind](folder)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise DataError(f"The data for {kind!r} below {folder} is not in the published layout: {error!r}.") from error


def _spec_bench(folder: Path) -> list[Prompt]:
    return read_prompts(folder / "spec_bench" / "question.jsonl", "spec_bench")


def _spec_bench_group(group: str, folder: Path) -> list[Prompt]:
    """First turns only; the eight categories of MT-bench are one group."""
    wanted = MT_BENCH if group == "mt_bench" else {group}
    prompts = read_prompts(folder / "spec_bench" / "question.jsonl")
    return [replace(p, kind=group, turns=p.turns[:1]) for p in prompts if p.kind in wanted]


def _humaneval(folder: Path) -> list[Prompt]:
    return [Prompt("code", text=r["prompt"]) for _, r in json_lines(folder / "humaneval" / "problems.jsonl")]


def _gsm8k(folder: Path) -> list[Prompt]:
    return [Prompt("math", turns=(r["question"],)) for _, r in json_lines(folder / "gsm8k" / "test.jsonl")]


def _tools(folder: Path) -> list[Prompt]:
    """API-Bank and BFCL in turn."""
    return [replace(prompt, kind="tools") for pair in zip(_api_bank(folder), _bfcl(folder), strict=False) for prompt in pair]


def _api_bank(folder: Path) -> list[Prompt]:
    """Dialogues that carry their tools inside the system message."""
    return [Prompt("api_bank", turns=(r["user"],), system=r["system"]) for r in read_json(folder / "api_bank" / "level-2.json")]


def _bfcl(folder: Path) -> list[Prompt]:
    """Requests with tools as schemas."""
    return [
        Prompt("bfcl", turns=(r["question"][0][0]["content"],), tools=tuple(map(_schema, r["function"])))
        for _, r in json_lines(folder / "bfcl" / "parallel.json")
    ]


def _schema(function: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": function}


def _wikitext(folder: Path, words: int = 48) -> list[Prompt]:
    """Openings of the long paragraphs: their first 48 words."""
    paragraphs = [line.strip() for line in read_text(folder / "wikitext-2" / "test.txt").splitlines()]
    long = [p.split() for p in paragraphs if not p.startswith("=") and len(p.split()) >= 2 * words]
    return [Prompt("prose", text=" ".join(p[:words])) for p in long]


def _long_summaries(folder: Path, words: int = 1500) -> list[Prompt]:
    """Articles of WikiText-2 with at least so many words, cut behind them, to be summarised."""
    articles = ARTICLE.split(read_text(folder / "wikitext-2" / "test.txt"))
    cut = [" ".join(found[:words]) for article in articles if len(found := article.split()) >= words]
    return [Prompt("long_summaries", turns=(f"Summarise this article in a few sentences.\n\n{text}",)) for text in cut]


def bare(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Token ids of a prompt's own words, without a conversation around them."""
    return tokenizer(prompt.text or "\n\n".join(prompt.turns), verbose=False)["input_ids"]


def encode(tokenizer: Any, prompt: Prompt, answers: tuple[str, ...] = ()) -> list[int]:
    """Token ids of a prompt. A conversation goes through the chat template where there is one, else as bare text.

    Raises DataError, with its line, for one that the template does not take.
    """
    if prompt.text is not None and prompt.tokens is not None:
        tail = tokenizer(prompt.tail, add_special_tokens=False)["input_ids"] if prompt.tail else []
        return tokenizer(prompt.text, verbose=False)["input_ids"][: prompt.tokens - len(tail)] + tail
    if prompt.text is not None:
        return tokenizer(prompt.text)["input_ids"]
    if not getattr(tokenizer, "chat_template", None):
        return tokenizer("\n\n".join(m["content"] for m in prompt.messages(answers)) + "\n\n")["input_ids"]
    try:
        text = conversation(tokenizer, prompt.messages(answers), prompt.tools)
    except RequestError as error:
        raise DataError(f"{prompt.where or prompt.kind}: {error}") from error
    return tokenizer(text, add_special_tokens=False)["input_ids"]
