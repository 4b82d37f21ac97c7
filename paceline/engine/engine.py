"""The round: controller picks, drafters propose, one forward scores all rows, the rule judges, the cache keeps.

Plain decoding is a round with an empty proposal; there is no second loop. Rows join and leave at any round. Invariant 1, stated
here: **the cache lacks exactly the last token**: between rounds `slot.length == len(tokens) - 1`; the pending token is the root
of the next tree.
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from paceline import plugins
from paceline.core import guidance
from paceline.core.arms import View
from paceline.core.checks import flag, short, whole
from paceline.core.detokenizer import Detokenizer
from paceline.core.proposal import Proposal, Verdict
from paceline.core.protocols import Controller, Drafter
from paceline.core.request import Request
from paceline.core.row import Generation, Row
from paceline.core.sampling import Dice, Scores, is_stateful
from paceline.core.stats import is_looping
from paceline.engine.auto import arranged
from paceline.engine.captured import captured
from paceline.engine.commit import commit, outcome
from paceline.engine.drafting import Drafting
from paceline.engine.inputs import check
from paceline.engine.prefix_cache import PrefixCache
from paceline.engine.scheduler import Scheduler
from paceline.engine.timing import Timing, peak_memory
from paceline.errors import ModelError, RequestError
from paceline.lm import LM, load
from paceline.lm.kv import slot_of
from paceline.rules import is_lossless
from paceline.selectors import choosing_layers

__all__ = ["Engine"]

log = logging.getLogger("paceline")


class Engine:
    """Decodes requests with one model. Submit rows, call `step` until they finish, cancel any of them between rounds.

    drafter: a spec, an attached drafter, a list of them (what cannot be built is left out), or "auto": what fits the model, where
    it pays. controller: a spec, or one that is attached already, whose statistics outlive this engine; it picks among the
    drafters. None = fixed, several drafters being merged into one tree (`auto.py`). exact: None = bit-exact where the machine
    can promise it, for chains or for trees too (`LM.exact_trees`); True = or raise ModelError; False = equal in law. slots: most
    rows decoded together. max_cached: finished sequences whose keys are kept, so that a later prompt with the same beginning is
    not prefilled again.
    """

    def __init__(self, lm: LM, drafter: Any = "auto", rule: Any = "lossless", controller: Any = None, *,
                 exact: bool | None = None, slots: int = 8, max_cached: int = 0) -> None:
        lm = load(lm)
        exact = flag("exact", exact, unset=True)
        if exact and not lm.exact:
            raise ModelError(f"exact=True cannot be promised: {lm.why_not_exact}. Leave exact unset for the best there is.")
        self.lm, self.exact = lm, lm.exact if exact is None else exact
        self.drafters: list[Drafter]
        self.controller: Controller
        self.drafters, self.controller = arranged(drafter, controller, lm)
        self.drafting = Drafting(self.drafters, lm.vocab, chains=self.exact and not lm.exact_trees)
        self.rule = plugins.make("rule", rule)
        self._timed = self.controller.timed or any(drafter.timed for drafter in self.drafters)
        self.kv = lm.cache(self.exact)
        self.rows: list[Row] = []  # those that are decoded
        self.prefixes = PrefixCache(lm.cache(self.exact), whole("max_cached", max_cached, 0))
        watched = any("queries" in drafter.captures for drafter in self.drafters)
        self.scheduler = Scheduler(lm, self.kv, self.prefixes, whole("slots", slots, 1), watched)
        self._ids = itertools.count()

    def submit(self, request: Request, watch: bool = False) -> Row:
        """Queue a request; it joins at the next step. `watch` keeps its text as it grows (`row.text`), for streaming."""
        if not isinstance(request, Request):
            raise RequestError(f"An engine decodes a Request; found {short(request)}. paceline.generate takes prompts.")
        request.sampling.check(self.lm.vocab)
        if not is_lossless(self.rule):  # it refuses what it cannot keep
            self.rule.check(request, self.lm.vocab)
        elif request.sampling.seed is not None and self._timed:
            request = replace(request, reproducible=True)  # what is drafted may change from day to day, so none of it is drawn
        if request.selector is not None:
            request = replace(request, selector=choosing_layers(request.selector))
        check(self.lm, request)
        row = Row(request, list(request.prompt), Dice(request.sampling.seed, request.stream), id=next(self._ids))
        if request.sampling.grammar is not None:
            row.grammar = self.lm.grammars.matcher(request.sampling.grammar, request.eos)
        if request.stop or watch:
            if self.lm.tokenizer is None:
                raise RequestError("Stop strings and streamed text need a tokenizer, and this model has none.")
            row.text = self._detokenizer(request)
        self.scheduler.queue.append(row)
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

    @property
    def waiting(self) -> list[Row]:
        """Rows that have not joined yet: queued, or with a prompt that is being read."""
        return [*self.scheduler.queue, *self.scheduler.reading]

    def cancel(self, row: Row) -> None:
        """End a row between rounds; what it has so far stays. Does nothing to a finished row."""
        if row in self.waiting:
            self.scheduler.cancel(row)
        elif row in self.rows:
            self._leave(row, "cancelled")

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Read on in prompts, and one round for all rows whose prompts are read; returns these, finished ones included."""
        if self.rows:
            self.lm.costs.renew([slot_of(row) for row in self.rows])
        self.scheduler.advance(self.rows)
        rows = list(self.rows)
        try:
            return self._round(rows) if rows else []
        except BaseException:  # the cache may have been told what the rows were not
            self._crop([row for row in rows if row in self.rows])
            raise

    def _round(self, rows: list[Row]) -> list[Row]:
        """Draft, score, judge, commit."""
        clock = Timing()
        arms = self.controller.pick([View(r.id, len(r.tokens), r.left, r.request.repeats) for r in rows])
        clock.lap("host")
        turns = self.drafting.turns(rows, arms, self.lm.context)
        clock.lap("draft")
        proposals, wanted = [turn.proposal for turn in turns], [self.drafters[turn.arm.drafter].captures for turn in turns]
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
            commit(turn, score, verdict, captured(wanted[b], score, verdict, [q[b] for q in queries or ()]), self.lm.context)
        clock.lap("host")
        whole = sum(len(r.texts) for r in rows)
        self.controller.learn([outcome(turn, clock.seconds, len(turn.row.texts) / whole) for turn in turns])
        clock.lap("host")
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

    def _judge(self, scores: Scores) -> Verdict:
        row, processors = scores.row, scores.sampling.processors
        if processors and row.stats.rounds == 0 and row.drafting and is_stateful(processors, scores.logits[0], row.tokens):
            row.drafting, scores.proposal = False, Proposal()
            row.stats.failures.append("a logits processor keeps state between calls, so this request is decoded without drafts")
            log.warning("A logits processor keeps state between calls; its request is decoded without drafts.")
        return self.rule(scores, scores.proposal, row)

    def _leave(self, row: Row, reason: str) -> None:
        row.finish_reason = reason
        row.stats.saved_bytes = sum(slot_of(text).saved_bytes for text in row.texts)
        self._crop([row])  # an end may have cut short what the cache was told to keep
        self.drafting.forget(row)
        self.controller.forget(row.id)
        self.prefixes.keep(row)
        self.rows.remove(row)
        self.scheduler.release(row)

    def _crop(self, rows: Sequence[Row]) -> None:
        """Restore invariant 1."""
        for text in (text for row in rows for text in row.texts):
            self.kv.crop(slot_of(text), len(text.tokens) - 1)
