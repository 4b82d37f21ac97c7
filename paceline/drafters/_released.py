"""ToolSpec as its authors' code does it, to compare with: steps are counted, not what was accepted (`toolcall:mode=released`).

Step 1 drafts openings with every tool's name, step 2 the first argument's name, and all later ones a match of the last tokens
among past outputs and the text, else argument names behind a comma, else Token Recycling. A tool is recognised once in an answer,
so its second call is drafted as arguments of the first one's tool. Departures: branches that share a beginning are merged, which
only saves nodes; past outputs are found as `toolcall` finds them, by text or by `_state.py`; Token Recycling's tree has the shape
that was learned here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.core.proposal import Proposal
from paceline.core.protocols import Target
from paceline.core.row import Row
from paceline.drafters._state import model_of, state_of
from paceline.drafters.recycle import Recycle
from paceline.lookup.trie import LEAST, Trie
from paceline.toolcalls.formats import formats
from paceline.toolcalls.json_calls import JsonFormat
from paceline.toolcalls.prompt import tools_given, tools_told
from paceline.toolcalls.schema import Tool
from paceline.toolcalls.store import Key, Store, key_of

__all__ = ["Released"]

MATCHED, TAKEN = (7, 6, 5), (32, 16, 8, 8)  # tokens of a match, tried in turn; tokens that its candidates go on
SEPARATOR, BEHIND = '",', 4  # what stands before an argument's name, and in how many last tokens it is looked for
SURE = 0.9  # chance given to every node: the paths of a tree are taken level by level


@dataclass
class Steps:
    """One row: its tools, their names as tokens, past outputs, and how many steps were made."""

    tools: tuple[Tool, ...]
    named: list[tuple[Tool, list[int]]]
    past: list[int]
    number: int = 0
    tool: Tool | None = None


class Released:
    """The attached drafter."""

    captures, has_model, timed = ("topk_logits",), False, True

    def __init__(self, options: Any, lm: Target, vocabulary: str) -> None:
        self.options, self.lm = options, lm
        self.encode = lm.tokenizer.backend_tokenizer.encode
        path = None if options.store is None else Path(options.store).expanduser()
        self.store = Store(path, vocabulary, options.cap, model_of(lm))
        self.recycled = Recycle(worth=0.0).attach(lm)
        self._rows: dict[int, Steps] = {}

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """One tree for each row, all nodes chosen."""
        return [self.grown(row).best(budget) for row, budget in zip(rows, budgets, strict=True)]

    def forget(self, row: Row) -> None:
        """A row that came to its end is kept as a past output."""
        self._rows.pop(row.id, None)
        self.recycled.forget(row)
        if self.options.keep and row.finish_reason in ("eos", "stop"):
            self.store.add(row.request.tenant, self._key(row), row.new_tokens)

    def grown(self, row: Row) -> Trie:
        steps = self._rows.get(row.id) or self._begin(row)
        recycled = self.recycled.grown(row)  # it learns in every step, whatever is drafted
        steps.number += 1
        steps.tool = steps.tool or next((tool for tool, ids in steps.named if ends_with(row.new_tokens, ids)), None)
        branches = self._branches(steps, row)
        if branches is None:
            return recycled
        tree = Trie()
        for branch in branches:
            tree.add([(token, SURE) for token in branch], "released", -1, LEAST)
        return tree

    def _branches(self, steps: Steps, row: Row) -> list[list[int]] | None:
        """What this step drafts; None = Token Recycling."""
        if steps.number == 1:
            openings = [made.opening for made in formats().values() if isinstance(made, JsonFormat)]
            return [self._ids(f'{opening}{{"name": "{tool.name}') for opening in openings for tool in steps.tools]
        if steps.number == 2:
            lead = self._ids('", "parameters": {"')[1:]  # its first token is the one that the target has just said
            return [lead + self._ids(name + '": "') for name in names_of(steps.tool)]
        if found := list(matches(steps.past + row.tokens, row.tokens)):
            return found
        tail = self.lm.tokenizer.decode(row.new_tokens[-BEHIND:], skip_special_tokens=False)
        return self._arguments(steps, tail[tail.rfind(SEPARATOR) + 2 :]) if SEPARATOR in tail else None

    def _arguments(self, steps: Steps, written: str) -> list[list[int]]:
        """Names that go on with what stands behind the separator, used ones too."""
        whole = [f' "{name}": "' for name in names_of(steps.tool)]
        return [self._ids(text[len(written) :]) for text in whole if text.startswith(written) and len(text) > len(written)]

    def _begin(self, row: Row) -> Steps:
        text = self.lm.tokenizer.decode(row.tokens[: row.prompt_len], skip_special_tokens=False)
        tools = tools_given(row.request.tools) if row.request.tools else tools_told(text)
        similar = self.store.similar(row.request.tenant, self._key(row), self.options.similar)
        past = [token for _, tokens in similar for token in tokens]
        self._rows[row.id] = Steps(tuple(tools), [(tool, self._ids(tool.name)) for tool in tools], past)
        return self._rows[row.id]

    def _key(self, row: Row) -> Key:
        hidden = state_of(row) if self.options.key == "hidden" and self.store.model else None
        return key_of(row.tokens[: row.prompt_len], hidden)

    def _ids(self, text: str) -> list[int]:
        return list(self.encode(text, add_special_tokens=False).ids)


def names_of(tool: Tool | None) -> list[str]:
    return [parameter.name for parameter in tool.parameters] if tool else []


def ends_with(tokens: Sequence[int], ids: Sequence[int]) -> bool:
    return bool(ids) and list(tokens[-len(ids) :]) == list(ids)


def matches(text: Sequence[int], tokens: Sequence[int]) -> Iterator[list[int]]:
    """What followed earlier occurrences of the last tokens, for the longest length that gives any; up to four, none a beginning
    of another.
    """
    for length in MATCHED:
        tail, kept = list(tokens[-length:]), list[list[int]]()
        for end in range(length, len(text)):
            wanted = TAKEN[len(kept)]
            if text[end - length : end] == tail and len(text) - end >= wanted:
                found = list(text[end : end + wanted])
                if not any(a[: len(b)] == b or b[: len(a)] == a for a in kept for b in [found]):
                    kept.append(found)
                if len(kept) == len(TAKEN):
                    break
        if kept:
            yield from kept
            return
