"""The round: controller picks, drafters propose, one forward scores all rows, the rule judges, the cache keeps.

Plain decoding is a round with an empty proposal; there is no second loop. Rows join and leave at any round. Invariant 1, stated
here: **the cache lacks exactly the last token**: between rounds `slot.length == len(tokens) - 1`; the pending token is the root
of the next tree.
"""

import itertools
import logging
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from paceline import plugins
from paceline.core import guidance
from paceline.core.arms import Arm, Order, Outcome, View
from paceline.core.checks import short, whole
from paceline.core.detokenizer import Detokenizer
from paceline.core.proposal import Proposal, Verdict
from paceline.core.request import Request
from paceline.core.row import Generation, Logprob, Round, Row
from paceline.core.sampling import Dice, Scores, is_stateful
from paceline.core.stats import is_looping
from paceline.engine.auto import built, controlling, listed, lone
from paceline.engine.captured import captured, captures
from paceline.engine.drafting import Drafter, Drafting, Turn
from paceline.engine.shadow import Shadow
from paceline.engine.timing import Timing, peak_memory
from paceline.errors import ModelError, RequestError
from paceline.lm import LM, load
from paceline.lm.capture import Trace, before, joined
from paceline.lm.kv import Slot

__all__ = ["Controller", "Drafter", "Engine"]

log = logging.getLogger("paceline")


class Controller(Protocol):
    """A controller attached to a number of drafters; it owns its statistics. `pick` gives each row an arm for one round, or an
    order for several, from what is past; before it is asked again, `learn` gets what came of it, round by round; `forget` drops a
    row that has ended, by its id. One that is `steady` gives a row that is to be drafted for as if `alone` (`View`) the same arms
    whatever the clock says and whoever else is decoded. With any other every draft of a row with a seed counts as chosen, so that
    the seed gives the same text again; so it does with a drafter that is not `steady` (`drafting.py`).
    """

    def pick(self, views: Sequence[View]) -> Sequence[Arm | Order]: ...

    def learn(self, outcomes: Sequence[Outcome]) -> None: ...

    def forget(self, row: int) -> None: ...


class Engine:
    """Decodes requests with one model. Submit rows, call `step` until they finish, cancel any of them between rounds.

    drafter: a spec, an attached drafter, a list of them (the arms a controller picks from; what cannot be built is left out), or
    "auto", those that fit the model. controller: a spec, or one that is attached already, whose statistics outlive this engine;
    None = fixed for one drafter, cost for several and for "auto". exact: None = bit-exact where the machine can promise it, for
    chains or for trees too (`LM.exact_trees`); True = or raise ModelError; False = equal in law. slots: most rows decoded
    together. max_cached: finished sequences whose keys are kept, so that a later prompt with the same beginning is not prefilled
    again.
    """

    def __init__(self, lm: LM, drafter: Any = "none", rule: Any = "lossless", controller: Any = None, *,
                 exact: bool | None = None, slots: int = 8, max_cached: int = 0) -> None:
        lm, self.slots, self.max_cached = load(lm), whole("slots", slots, 1), whole("max_cached", max_cached, 0)
        if exact and not lm.exact:
            raise ModelError(f"exact=True cannot be promised: {lm.why_not_exact}. Leave exact unset for the best there is.")
        self.lm, self.exact = lm, lm.exact if exact is None else exact
        named, self.drafters = built(listed(drafter, lm), lm)
        self.drafting = Drafting(self.drafters, lm.vocab, chains=self.exact and not lm.exact_trees)
        self.rule = plugins.make("rule", rule)
        self.controller: Controller = controlling(controller, named, lm, lone(drafter))
        self._steady = all(getattr(each, "steady", False) for each in (self.controller, *self.drafters))
        self.kv = lm.cache(1, self.exact)
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []
        self._prefix_kv = lm.cache(1, self.exact)
        self._cached: deque[tuple[list[int], Slot, Trace | None]] = deque()
        self._ids = itertools.count()
        self._shadow = Shadow(self.drafters, self.controller) if hasattr(self.controller, "hear") else None
        self._watched = any("queries" in captures(d) for d in self.drafters)
        self._orders: list[Order] = []
        self._stands = 0  # further rounds for which the orders stand
        self._played: list[tuple[list[Turn], dict[str, float]]] = []  # rounds of which the controller was not told yet

    def submit(self, request: Request, watch: bool = False) -> Row:
        """Queue a request; it joins at the next step. `watch` keeps its text as it grows (`row.text`), for streaming."""
        if not isinstance(request, Request):
            raise RequestError(f"An engine decodes a Request; found {short(request)}. paceline.generate takes prompts.")
        request.sampling.check(self.lm.vocab)
        if hasattr(self.rule, "check"):  # a relaxed rule refuses what it cannot keep
            self.rule.check(request, self.lm.vocab)
        elif request.sampling.seed is not None and not self._steady:
            request = replace(request, reproducible=True)  # what is drafted may change from day to day, so none of it is drawn
        self._check_length(request)
        bad = next((t for prompt in request.prompts for t in prompt if not 0 <= t < self.lm.vocab), None)
        if bad is not None:
            raise RequestError(f"The prompt has token {bad}; ids run from 0 to {self.lm.vocab - 1}.")
        row = Row(request, list(request.prompt), Dice(request.sampling.seed, request.stream), id=next(self._ids))
        if request.sampling.grammar is not None:
            row.grammar = self.lm.grammars.matcher(request.sampling.grammar, request.eos)
        if request.stop or watch:
            if self.lm.tokenizer is None:
                raise RequestError("Stop strings and streamed text need a tokenizer, and this model has none.")
            row.text = self._detokenizer(request)
        self.waiting.append(row)
        return row

    def run(self, requests: Sequence[Request]) -> list[Generation]:
        """Decode all requests to their end, as many together as there are slots."""
        rows = [self.submit(r) for r in ([requests] if isinstance(requests, Request) else requests)]
        try:
            while any(row.finish_reason is None for row in rows):
                self.step()
        except BaseException:
            for row in rows:
                self.cancel(row)
            raise
        return [self.generation(row) for row in rows]

    def cancel(self, row: Row) -> None:
        """End a row between rounds; what it has so far stays. Does nothing to a finished row."""
        if row in self.waiting:
            self.waiting.remove(row)
            row.finish_reason = "cancelled"
        elif row in self.rows:
            self._leave(row, "cancelled")

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One round for all active rows; returns them, finished ones included."""
        if self.rows:
            self.lm.costs.renew()
        self._admit()
        rows = list(self.rows)
        try:
            return self._round(rows) if rows else []
        except BaseException:  # the cache may have been told what the rows were not
            for text in (text for row in rows if row in self.rows for text in row.texts):
                self.kv.crop(text.slot, len(text.tokens) - 1)
            raise

    def _round(self, rows: list[Row]) -> list[Row]:
        """Draft, score, judge, commit."""
        clock = Timing()
        self._decide(rows)
        clock.lap("host")
        turns = self.drafting.turns(rows, self._orders, self.lm.context)
        clock.lap("draft")
        proposals, wanted = [turn.proposal for turn in turns], [captures(self.drafters[turn.arm.drafter]) for turn in turns]
        queries: list[torch.Tensor] | None = [] if any("queries" in names for names in wanted) else None
        logits = guidance.score(self.lm, self.kv, rows, proposals, queries)
        scores = [Scores(x, p, r) for x, p, r in zip(logits, proposals, rows, strict=True)]
        if rows[0].request.sampling.greedy:
            scores[0].best(-1)  # on an accelerator the forward is only now done
        clock.lap("verify")
        verdicts = [self._judge(s) for s in scores]
        clock.lap("host")
        guidance.keep(self.kv, rows, verdicts)
        clock.lap("commit")
        for b, (turn, score, verdict) in enumerate(zip(turns, scores, verdicts, strict=True)):
            if self._shadow is not None and turn.said:
                self._shadow.keep(turn, len(turn.row.tokens))
            self._commit(turn, score, verdict, captured(wanted[b], score, verdict, [q[b] for q in queries or ()]))
        self._played.append((turns, clock.seconds))
        self._stands -= 1
        if self._stands <= 0 or any(row.finish_reason is not None for row in rows):
            self._tell()
        clock.lap("host")
        whole = sum(len(r.texts) for r in rows)
        for row in rows:
            clock.share(row.stats.seconds, len(row.texts) / whole)
            if row.finish_reason is not None:
                self._leave(row, row.finish_reason)
        return rows

    def generation(self, row: Row) -> Generation:
        """What a row has written so far, with its stats."""
        tokens = row.new_tokens
        row.stats.looping = is_looping(tokens)
        row.stats.peak_memory_bytes = peak_memory()
        if row.text is not None:
            text = row.text.finish() if row.finish_reason else row.text.text
        else:
            text = "" if self.lm.tokenizer is None else self._detokenizer(row.request).whole(tokens)
        logprobs = row.logprobs if row.request.sampling.logprobs is not None else None
        return Generation(text, tokens, row.finish_reason or "unfinished", row.stats, row.prompt_len, logprobs)

    def _detokenizer(self, request: Request) -> Detokenizer:
        return Detokenizer(self.lm.tokenizer, request.stop, request.prompt, request.special_tokens)

    # -- joining ---------------------------------------------------------------------------------------------------------

    def _check_length(self, request: Request) -> None:
        n, context, switch = max(map(len, request.prompts)), self.lm.context, self.lm.rope_switch
        if n >= context:
            raise RequestError(f"The prompt has {n} tokens, this model's context is {context}: shorten it by {n - context + 1}.")
        if switch is not None and n + request.max_new_tokens > switch:
            raise ModelError(f"This model's rotary embedding changes beyond {switch} tokens, which would invalidate cached keys: "
                             f"prompt ({n}) and max_new_tokens ({request.max_new_tokens}) must stay within it together.")

    def _admit(self) -> None:
        while self.waiting and len(self.rows) < self.slots:
            row = self.waiting.popleft()
            clock = Timing()
            try:
                self._read(row)
            except BaseException:  # an interruption, too, must not keep slots
                row.finish_reason = "cancelled"
                self._release(row)
                raise
            self._tell()
            self.rows.append(row)
            clock.lap("prefill")
            clock.share(row.stats.seconds)

    def _read(self, row: Row) -> None:
        """Have the prompt of each branch in the cache."""
        for text in row.texts:
            prompt = text.tokens[:-1]
            text.slot, reused, trace = self._start(prompt)
            watch = {"watch": row.request.kept} if self._watched and text is row else {}
            asked = self.lm.prefill(self.kv, text.slot, prompt[reused:], **watch)
            row.trace = joined(trace, asked) if watch else row.trace
            row.stats.reused += reused

    def _start(self, prompt: list[int]) -> tuple[Slot, int, Trace | None]:
        """A slot holding the longest cached beginning of this prompt, its length, and what was asked in it."""
        best, source, trace = 0, None, None
        for text in (t for row in self.rows for t in row.texts):
            if (n := common(text.tokens[: text.slot.length], prompt)) > best and text.slot.holds(n):
                best, source, trace = n, text.slot, getattr(text, "trace", None)  # a second branch has none
        for tokens, slot, asked in self._cached:
            if (n := common(tokens, prompt)) > best and slot.holds(n):
                best, source, trace = n, slot, asked
        if source is None or (copy := self.kv.fork(source, best)) is None:
            return self.kv.take(), 0, None
        return copy, best, before(trace, best)

    # -- one round -------------------------------------------------------------------------------------------------------

    def _decide(self, rows: Sequence[Row]) -> None:
        """Have the controller say who drafts, unless what it has said still stands."""
        if self._stands > 0:
            return
        free: Sequence[Sequence[int]] = [()] * len(rows)
        if self._shadow is not None:
            self._shadow.tell(rows)
            free = [self._shadow.free(row) for row in rows]
        views = [View(r.id, len(r.tokens), r.left, f, r.request.repeats) for r, f in zip(rows, free, strict=True)]
        picked = self.controller.pick(views)
        self._orders = [Order.of(each) for each in picked]
        self._stands = min(order.rounds for order in self._orders)
        if self._shadow is not None:
            self._shadow.probe(rows, self._orders, self.drafting.ask)

    def _tell(self) -> None:
        """Let the controller learn of the rounds since it was last asked."""
        for turns, seconds in self._played:
            whole = sum(len(turn.row.texts) for turn in turns)
            self.controller.learn([self._outcome(turn, seconds, len(turn.row.texts) / whole) for turn in turns])
        self._played.clear()
        self._stands = 0

    def _judge(self, scores: Scores) -> Verdict:
        row, processors = scores.row, scores.sampling.processors
        if processors and row.stats.rounds == 0 and row.drafting and is_stateful(processors, scores.logits[0], row.tokens):
            row.drafting, scores.proposal = False, Proposal()
            row.stats.failures.append("a logits processor keeps state between calls, so this request is decoded without drafts")
            log.warning("A logits processor keeps state between calls; its request is decoded without drafts.")
        return self.rule(scores, scores.proposal, row)

    def _commit(self, turn: Turn, scores: Scores, verdict: Verdict, shown: dict[str, Any]) -> None:
        """Add what was decided, token by token, until something ends the row; exactly what plain decoding would have kept."""
        row, proposal, stats = turn.row, scores.proposal, turn.row.stats
        nodes = [*verdict.path, None]
        before, kept = -1, 0
        for node in nodes:
            token = verdict.bonus_token if node is None else proposal.tokens[node]
            if row.request.sampling.logprobs is not None:
                row.logprobs.append(Logprob(token, *scores.logprobs(before, token)))
            row.tokens.append(token)
            row.drafted.append(node is not None)
            if row.grammar is not None:
                row.grammar.advance(token)
            before, kept = (-1 if node is None else node), kept + 1
            row.finish_reason = self._ending(row, token)
            if row.finish_reason is not None:
                for text in row.texts:
                    text.slot.length = min(text.slot.length, len(text.tokens) - 1)
                break
        turn.last = row.last = Round(proposal, verdict, kept, turn.arm.drafter, shown)
        stats.rounds += 1
        stats.new_tokens += kept
        stats.spent += verdict.spent
        stats.count(proposal, verdict.path[:kept])

    def _ending(self, row: Row, token: int) -> str | None:
        stopped = row.text is not None and row.text.add(token)
        if row.grammar is not None and row.grammar.ended:
            return "eos" if row.grammar.complete else self._dead_end(row)
        if token in row.request.eos:
            return "eos"
        if stopped or (row.request.until is not None and row.request.until(row.tokens)):
            return "stop"
        if row.left <= 0 or row.reach >= self.lm.context:
            return "length"
        return None

    def _dead_end(self, row: Row) -> str:
        row.stats.failures.append("no token of this model goes on with what the grammar asks for, so the text is unfinished")
        return "dead_end"

    def _outcome(self, turn: Turn, seconds: dict[str, float], share: float) -> Outcome:
        last, draft = turn.last, turn.seconds
        assert last is not None
        depth = max(last.proposal.depths(), default=0)
        taken = min(len(last.verdict.path), last.committed)
        return Outcome(turn.row.id, turn.arm, len(last.proposal), [i < taken for i in range(depth)], last.committed,
                       draft, seconds["verify"] * share, last.committed < len(last.verdict.path) + 1,
                       draft + (sum(seconds.values()) - seconds["draft"]) * share,
                       self._reach(last.proposal, turn.arm, taken), turn.offers)

    def _reach(self, proposal: Proposal, arm: Arm, taken: int) -> int:
        """The largest budget whose tokens this round tells (`Outcome.reach`). A draft that ended before its budget is that of
        every larger one; one that filled it would have gone on, and where the target left it, branches might have stood.
        """
        if arm.budget == 0 or not proposal.is_chain or not getattr(self.drafters[arm.drafter], "nested", False):
            return 0
        return sys.maxsize if len(proposal) < arm.budget or (self.drafting.chains and taken < len(proposal)) else arm.budget

    # -- leaving ---------------------------------------------------------------------------------------------------------

    def _leave(self, row: Row, reason: str) -> None:
        row.finish_reason = reason
        self._tell()
        self.drafting.forget(row)
        self.controller.forget(row.id)
        if self._shadow is not None:
            self._shadow.forget(row)
        if self.max_cached:
            self._keep_for_later(row)
        self.rows.remove(row)
        self._release(row)

    def _release(self, row: Row) -> None:
        """Give back the slots that a row's branches hold."""
        for text in row.texts:
            if text.slot is not None:
                self.kv.free(text.slot)

    def _keep_for_later(self, row: Row) -> None:
        while len(self._cached) >= self.max_cached:
            self._prefix_kv.free(self._cached.popleft()[1])
        if (slot := self._prefix_kv.fork(row.slot, row.slot.length)) is not None:
            self._cached.append((row.tokens[: slot.length], slot, row.trace))


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    if list(a[:n]) == list(b[:n]):
        return n
    return next(i for i in range(n) if a[i] != b[i])
