"""Readers of the training texts: files in, plain texts and chat messages out. They know nothing of tokens or models."""

from __future__ import annotations

import ast
import json
import re
import sysconfig
import textwrap
import warnings
import zlib
from pathlib import Path
from random import Random
from typing import Any

from paceline.files import json_lines, parsed, read_bytes, read_text
from paceline.toolcalls.prompt import native_tools

__all__ = [
    "Messages",
    "api_bank",
    "bfcl",
    "functions",
    "gsm8k",
    "held_out",
    "mend",
    "native_calls",
    "native_tools",
    "passages",
    "records",
    "stdlib",
    "wikitext",
]

Messages = list[dict[str, Any]]
_NO_TRAINING = {"site-packages", "test", "tests", "idle_test", "__pycache__", "encodings"}


def records(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON array or of JSON lines, whichever the file holds.

    Raises:
        DataError: unreadable, or not JSON (with the line number).
    """
    raw = read_bytes(path)
    return parsed(raw, str(path)) if raw.lstrip().startswith(b"[") else [record for _, record in json_lines(path)]


def held_out(name: str, percent: int = 5) -> bool:
    """Whether a file belongs to the held-out share: by a hash of its relative path, the same on every machine."""
    return zlib.crc32(name.encode()) % 100 < percent


def stdlib(measure: bool, root: Path | None = None) -> list[str]:
    """Python's standard library, one text per file, without tests and without the tables in ``encodings``.

    ``measure``: the 5 % of files held out, else the others.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    texts = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        generated = path.name.startswith("_sysconfigdata")
        if _NO_TRAINING.isdisjoint(name.split("/")) and not generated and held_out(name) == measure:
            texts.append(path.read_text(encoding="utf-8", errors="ignore"))
    return [text for text in texts if text.strip()]


def functions(text: str, shortest: int = 80, longest: int = 4000) -> list[str]:
    """The functions and methods of a Python file, each from its ``def`` on and unindented, if so many characters long.

    None where the file does not parse.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return []
    lines = text.splitlines(keepends=True)
    kept = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    found = [textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno])) for node in kept]
    return [function for function in found if shortest <= len(function) <= longest]


def gsm8k(path: Path) -> list[tuple[str, str]]:
    """(question, answer) pairs; the ``<<48/2=24>>`` calculator marks go, the last line ``#### 24`` stays."""
    return [(r["question"], re.sub(r"<<.*?>>", "", r["answer"])) for r in records(path)]


def wikitext(path: Path, mended: bool = False) -> list[str]:
    """Articles of WikiText as ordinary prose, its tokenisation undone.

    Sentences with ``<unk>`` are left out, or with ``mended`` kept with a word in its place (three of four have one).
    """
    articles: list[list[str]] = []
    lines: list[str] = []
    text = read_text(path)
    for line in (mend(text) if mended else text).splitlines():
        if re.fullmatch(r" = [^=].*[^=] = ?", line) and lines:
            articles.append(lines)
            lines = []
        lines.append(detokenise(line))
    texts = ["\n".join(line for line in article if line).strip() + "\n" for article in [*articles, lines]]
    return [text for text in texts if len(text) > 1]


def mend(text: str, seed: int = 0) -> str:
    """WikiText with each ``<unk>`` replaced by a word seen between the same neighbours, else after the same word."""
    rng, words = Random(seed), re.split(r"( +|\n)", text)
    after: dict[str, list[str]] = {}
    before: dict[str, set[str]] = {}
    plain = [i for i in range(0, len(words), 2)]
    for i, j in zip(plain, plain[1:], strict=False):
        after.setdefault(words[i], []).append(words[j])
        before.setdefault(words[j], set()).add(words[i])
    for i in plain[1:-1]:
        if words[i] == "<unk>":
            follow = [w for w in after.get(words[i - 2], []) if w.isalpha()] or ["place"]
            both = [w for w in follow if w in before.get(words[i + 2], set())]
            words[i] = rng.choice(both or follow)
    return "".join(words)


def detokenise(line: str) -> str:
    """One WikiText line as it was before tokenisation; empty when nothing but sentences with ``<unk>`` is in it."""
    if re.match(r" ?= ", line):
        return "" if "<unk>" in line else "\n" + re.sub(r" ?(= )+|( =)+ ?$", "", line).strip()
    kept = [part for part in re.split(r"(?<= [.!?]) (?=[A-Z\"<])", line.strip()) if "<unk>" not in part]
    text = re.sub(r" @([-,.])@ ", r"\1", " ".join(kept))
    text = re.sub(r" ([.,;:!?%)\]}]|'s\b|n't\b|'\b)", r"\1", text)
    text = re.sub(r"([(\[{$£€]) ", r"\1", text)
    text = re.sub(r'" ([^"]*?) "', r'"\1"', text)
    return re.sub(r"(\w)'\s(?=s\b)", r"\1'", text)


def passages(text: str, size: int = 6000) -> list[str]:
    """A long text cut at blank lines into documents of about ``size`` characters."""
    parts, current = [], ""
    for block in text.split("\n\n"):
        current += block + "\n\n"
        if len(current) >= size:
            parts.append(current)
            current = ""
    return [*parts, current] if current.strip() else parts


def api_bank(path: Path, stop: int | None = None) -> list[Messages]:
    """API-Bank samples as system, user and assistant turns, in the prompt's own output format."""
    samples = []
    for record in records(path)[:stop]:
        calls = record["answer"] if isinstance(record["answer"], list) else [record["answer"]]
        samples.append(
            [
                {"role": "system", "content": record["system"]},
                {"role": "user", "content": record["user"].strip()},
                {"role": "assistant", "content": native_calls(calls)},
            ]
        )
    return samples


def native_calls(calls: list[dict[str, Any]]) -> str:
    """Calls as API-Bank's prompt asks for them: a fenced ``<tool_call>`` block of JSON lines with ``parameters``."""
    lines = [json.dumps({"name": c["name"], "parameters": c["parameters"]}, ensure_ascii=False) for c in calls]
    return "```<tool_call>\n" + "\n".join(lines) + "\n</tool_call>\n```"


def bfcl(folder: Path, category: str) -> list[tuple[Messages, list[dict[str, Any]]]]:
    """BFCL single-turn samples of ``category`` as (messages with the calls, tools); the first accepted value of each
    argument."""
    answers = {r["id"]: r["ground_truth"] for r in records(folder / "possible_answer" / f"{category}.json")}
    samples = []
    for record in records(folder / f"{category}.json"):
        calls = [_bfcl_call(call) for call in answers[record["id"]]]
        messages = [*record["question"][0], {"role": "assistant", "content": "", "tool_calls": calls}]
        samples.append((messages, [_bfcl_tool(tool) for tool in record["function"]]))
    return samples


def bfcl_turns(folder: Path) -> list[Messages]:
    """BFCL's multi-turn dialogues, a sample for each turn: what the user says, and the calls as Python writes them."""
    answers = {r["id"]: r["ground_truth"] for r in records(folder / "possible_answer" / "multi_turn_base.json")}
    samples = []
    for record in records(folder / "multi_turn_base.json"):
        said: Messages = []
        for turn, calls in zip(record["question"], answers[record["id"]], strict=True):
            said = [*said, *turn, {"role": "assistant", "content": f"[{', '.join(calls)}]"}]
            if calls:
                samples.append(said)
    return samples


def _bfcl_call(call: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """An answer lists the accepted values of each argument; an empty string first means: may be left out."""
    ((name, accepted),) = call.items()
    arguments = {key: _plain(values[0]) for key, values in accepted.items() if values and values[0] != ""}
    return {"name": name, "arguments": arguments}


def _plain(value: Any) -> Any:
    """Inside an object, too, each field holds its list of accepted values."""
    if isinstance(value, dict):
        return {k: _plain(v[0]) if isinstance(v, list) and v else v for k, v in value.items() if v != [""]}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _bfcl_tool(tool: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(tool).replace('"type": "dict"', '"type": "object"').replace('"type": "float"', '"type": "number"')
    return json.loads(text)
