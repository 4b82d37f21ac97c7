"""Tool calls drafted from their schema, from past calls and from the message, without a model (ToolSpec).

Source: ToolSpec (arXiv 2604.13519): states of a call decide what is filled in, similar past calls are searched for what was
written, Token Recycling covers the rest. Departures: the states follow the accepted text instead of counting steps; all
sources' candidates stand in one tree, the most valuable nodes under one budget, with chances learned as it goes; values are
copied from the message by type; a call's format is read off the prompt and the answer; past calls are kept per tenant, the oldest
going first. They are found by a key made of the prompt's tokens, where the paper takes the target's hidden state (`key=hidden`,
see `_state.py`): with the embedded target the text finds the more useful ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paceline.core.detokenizer import Detokenizer
from paceline.core.proposal import Proposal
from paceline.core.protocols import Target
from paceline.core.row import Row
from paceline.drafters._released import Released
from paceline.drafters._state import model_of, state_of
from paceline.drafters.recycle import Recycle
from paceline.drafters.suffix import Suffix
from paceline.errors import ModelError, SpecError
from paceline.lookup.followed import Found, follow
from paceline.lookup.guess import Guess
from paceline.lookup.rates import Rates
from paceline.lookup.suffix_counts import DEPTH, Counts
from paceline.lookup.trie import Trie, merged, price_of
from paceline.toolcalls.ahead import Speller, ahead, believed, fingerprint
from paceline.toolcalls.asked import Asked
from paceline.toolcalls.calls import Writing
from paceline.toolcalls.formats import shown
from paceline.toolcalls.prompt import tools_given, tools_told
from paceline.toolcalls.store import Store, key_of

__all__ = ["Toolcall"]

SOURCES = ("schema", "store", "suffix", "recycle")
LEAD = 3  # tokens of the prompt's end that are kept before a past output, so that its beginning can be matched
TAIL = 4  # tokens of the answer that a fill is spelled together with


@dataclass(frozen=True)
class Toolcall:
    """sources: what is drafted from: schema, store, suffix, recycle. store: a file in which past calls are kept; None = in
    memory. keep: add the calls of this run to them. cap: past calls kept for a tenant. similar: how many of them a request is
    drafted from. key: what the likeness of requests is told by, text or hidden, the target's own view of the prompt; a request of
    which that is not at hand (a replayed target, a prompt of one token) goes by its text, and so do calls that were kept without
    it or by another model. length: about how many tokens of a call are filled ahead. worth: price of a drafted token as a share
    of a plain step; None = as measured, 0 = all that the budget allows. mode: events, or released, what the authors' code does:
    for comparison.
    """

    sources: tuple[str, ...] = SOURCES
    store: str | None = None
    keep: bool = True
    cap: int = 1000
    similar: int = 3
    key: Literal["text", "hidden"] = "text"
    length: int = 20
    worth: float | None = None
    mode: Literal["events", "released"] = "events"

    def __post_init__(self) -> None:
        wrong = [source for source in self.sources if source not in SOURCES]
        if wrong or not self.sources:
            raise SpecError(f"toolcall drafts from {', '.join(SOURCES)}; found {', '.join(wrong) or 'nothing'}.")
        if self.cap < 1 or self.similar < 1 or self.length < 1 or not 0 <= (self.worth or 0) < 1:
            raise SpecError(f"toolcall needs cap, similar and length >= 1 and 0 <= worth < 1; found cap={self.cap}, "
                            f"similar={self.similar}, length={self.length}, worth={self.worth}.")

    def attach(self, lm: Target) -> "Calls | Released":
        """Raises ModelError for a model without a fast tokenizer: calls are text."""
        if getattr(lm.tokenizer, "backend_tokenizer", None) is None:
            raise ModelError("toolcall writes text, so it needs a model with a fast tokenizer.")
        return Calls(self, lm) if self.mode == "events" else Released(self, lm, fingerprint(lm.tokenizer))


@dataclass
class Memory:
    """One row: its answer as read so far, what is known of its request, and what is thought of how it goes on."""

    writing: Writing
    text: Detokenizer
    guess: Guess
    past: Counts | None
    read: int


class Calls:
    """The attached drafter: a `Memory` for each row, one store for all, and the drafters that cover the rest."""

    has_model, timed = False, True

    def __init__(self, options: Toolcall, lm: Target) -> None:
        self.options, self.lm = options, lm
        self.rates = Rates(believed)
        self.speller = Speller(lm.tokenizer)
        path = None if options.store is None else Path(options.store).expanduser()
        stored = "store" in options.sources
        self.store = Store(path, self.speller.vocabulary, options.cap, model_of(lm)) if stored else None
        made: dict[str, Suffix | Recycle] = {"suffix": Suffix(length=options.length), "recycle": Recycle()}
        self.inner = [made[source].attach(lm) for source in options.sources if source in made]
        self.captures = frozenset(what for drafter in self.inner for what in drafter.captures)
        self._rows: dict[int, Memory] = {}

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """One tree for each row, all nodes chosen."""
        price = price_of(self.lm, self.options.worth, rows)
        return [self.grown(row).best(budget, price) for row, budget in zip(rows, budgets, strict=True)]

    def grown(self, row: Row) -> Trie:
        """All that may follow, from all sources, with the chances."""
        return merged([self._own(row), *(drafter.grown(row) for drafter in self.inner)])

    def forget(self, row: Row) -> None:
        """A row that came to its end is kept as a past call."""
        self._rows.pop(row.id, None)
        for drafter in self.inner:
            drafter.forget(row)
        if self.options.keep and row.finish_reason in ("eos", "stop"):
            self.remember(row.request.tenant, row.tokens[: row.prompt_len], row.new_tokens, self._state(row))

    def remember(self, tenant: str, prompt: Sequence[int], answer: Sequence[int], state: Any = None) -> None:
        """Keep a past call; nothing where no store is drafted from. state: what the target made of the prompt (`_state.py`)."""
        if self.store is not None:
            self.store.add(tenant, key_of(prompt, state), [*prompt[-LEAD:], *answer])

    def _state(self, row: Row) -> Any:
        return state_of(row) if self.options.key == "hidden" and self.store is not None and self.store.model else None

    def _own(self, row: Row) -> Trie:
        """From the schema and from past calls."""
        memory = self._rows.get(row.id) or self._begin(row)
        tree, rates = memory.guess.renew(row.tokens), memory.guess.rates
        self._read(memory, row.tokens)
        if "schema" in self.options.sources:
            written = row.tokens[row.prompt_len :][-TAIL:]
            self.speller.spell(tree, written, ahead(memory.writing, rates, self.options.length), rates)
        if memory.past is not None:
            tail = row.tokens[-min(DEPTH - 1, len(row.tokens) - row.prompt_len + LEAD) :]
            for length in range(len(tail), 0, -1):
                place = memory.past.find(tail[len(tail) - length :])
                if place is not None:
                    follow(tree, rates, memory.past, place, Found("store", length, self.options.length))
                    break
        return tree

    def _begin(self, row: Row) -> Memory:
        """Read the request: its tools, its message, and the past calls most like it."""
        prompt = row.tokens[: row.prompt_len]
        text = self.lm.tokenizer.decode(prompt, skip_special_tokens=False)
        tools = tools_given(row.request.tools) if row.request.tools else tools_told(text)
        asked = Asked(tools, self.speller.message(text), shown(text))
        past = None
        if self.store is not None:
            past, key = Counts(), key_of(prompt, self._state(row))
            for _, tokens in reversed(self.store.similar(row.request.tenant, key, self.options.similar)):
                past.add(tokens)
        memory = Memory(Writing(asked), Detokenizer(self.lm.tokenizer), Guess(self.rates), past, row.prompt_len)
        self._rows[row.id] = memory
        return memory

    def _read(self, memory: Memory, tokens: Sequence[int]) -> None:
        """Take in what was accepted since."""
        for token in tokens[memory.read :]:
            memory.text.add(token)
        memory.read = len(tokens)
        memory.writing.feed(memory.text.take(final=True))


def tiny(lm: Target) -> Toolcall:
    return Toolcall(length=4, worth=0.0)
