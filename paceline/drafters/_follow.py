"""What drafters share that run a model of their own beside the target: its memory of each row, chains, combs and trees.

A chain is drawn under sampling from the drafting model's law, processed as the target's is; under greedy decoding it is the
likeliest token. It ends where the model's own confidence says that the next token is not worth its cost; that decision is made
before the token is drawn, so the token stays a drawn one. Leaves beside the chain and trees are chosen.

What a token costs is measured: a step of the drafting model and one more token in the target's forward, for as many rows as are
decoded together, as a share of the target's plain step. A token is drafted as long as the chance of its path makes the round
faster at that price (`lookup/stopping.py`); under greedy decoding that chance is learned from what the target took
(`lookup/acceptance.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from paceline.core.proposal import Proposal
from paceline.core.protocols import Text
from paceline.core.row import Row
from paceline.core.sampling import Dice, guided, law_of, shaped
from paceline.errors import SpecError
from paceline.lm import KV, Slot
from paceline.lm.batch import Batch
from paceline.lm.kv import slot_of
from paceline.lm.protocols import CausalLM
from paceline.lookup.acceptance import Calibration
from paceline.lookup.beam import Beam
from paceline.lookup.stopping import Stop

__all__ = ["DraftKV", "Follower", "Options", "check"]

CATCH_UP = 16  # more missing tokens than this are prefilled row by row
MOST = 0.8  # from this measured price on nothing is drafted
CHEAP = 0.5  # up to this price a first token is drafted in any case, which is how its calibration is learned
READ = 64  # tokens at a time in which it reads a text
TYPICAL = 0.15  # cost of a token where drawn ones must not depend on measurements: the same seed gives the same text


class Options(Protocol):
    """length: most drafted tokens of the chain. branch: candidates per position, 1 = a chain. beam: paths kept at each depth of a
    tree, one number or one for each depth; 0 = no tree. drawn: draw the chain under sampling. worth: draft while a path is
    expected to be accepted with at least this probability; None = while a token makes the round faster at its measured price. Not
    for trees, whose nodes the budget chooses.
    """

    @property
    def length(self) -> Any: ...

    @property
    def branch(self) -> int: ...

    @property
    def beam(self) -> Any: ...

    @property
    def drawn(self) -> bool: ...

    @property
    def worth(self) -> float | None: ...


class DraftKV(Protocol):
    """Keys that a drafting model takes from the target's cache instead of computing its own. asks: whether it wants to see what
    attention asks in this round.
    """

    asks: bool

    def price(self, rows: Sequence[Row]) -> float:
        """What one more drafted token costs each of these rows, as a share of their plain step."""
        ...

    def renew(self, row: Row, slot: Slot) -> bool:
        """Bring a row's slot up to all its tokens but the pending one; False where that cannot be yet."""
        ...

    def forget(self, row: Row) -> None: ...


def check(name: str, options: Options) -> None:
    """Raise SpecError for options out of range."""
    o = options
    beams = (o.beam,) if isinstance(o.beam, int) else o.beam
    if (o.length is not None and o.length < 1) or o.branch < 1 or min(beams, default=0) < 0 or not 0 <= (o.worth or 0) < 1:
        raise SpecError(f"{name} needs length >= 1, branch >= 1, beam >= 0 and 0 <= worth < 1; found length={o.length}, "
                        f"branch={o.branch}, beam={o.beam}, worth={o.worth}.")
    if o.beam and o.branch > 1:
        raise SpecError(f"{name} takes branch (a comb) or beam (a tree), not both.")


def widths(options: Options) -> tuple[int, ...]:
    """Paths kept at each depth of a tree; none where no tree is asked for."""
    beam = options.beam
    return tuple(beam) if not isinstance(beam, int) else (beam,) * options.length if beam else ()


@dataclass
class Memory:
    """One row's draft cache: its slot holds `committed` tokens of the row and then the `drafted` ones that were fed. Of the last
    chain: its tokens, how sure the model was of them, and the length of the text that they would go on with.
    """

    slot: Slot
    calibration: Calibration
    committed: int = 0
    drafted: list[int] = field(default_factory=list)
    chain: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    at: int = 0


@dataclass
class Chain:
    """A chain under construction for one row."""

    row: Row
    text: Text  # the row itself, or its second branch
    budget: int  # nodes, leaves included
    length: int  # of the chain
    memory: Memory
    tokens: list[int] = field(default_factory=list)
    laws: list[torch.Tensor] = field(default_factory=list)
    path: float = 1.0
    gain: float = 1.0  # tokens that its round is expected to give
    leaves: list[tuple[int, int]] = field(default_factory=list)  # (depth, token)
    likely: list[list[tuple[int, float]]] = field(default_factory=list)
    tree: Beam | None = None
    other: "Chain | None" = None  # the second branch of a guided row: the same tokens behind another prompt


class Follower:
    """The attached drafter; it owns a slotted cache of its own, one slot per row. lm: the model that drafts, an `LM` or a head at
    work (`HeadLM`), whose slots then read the rows' own. source: what proposals name as their origin. guided: chains of a guided
    row are drafted with both branches. top: how many of the likeliest tokens at each place are told with a greedy chain
    (`Proposal.likely`), for whoever wraps this drafter. borrowed: where the keys come from that are not its own.
    """

    top, has_model = 1, True

    def __init__(self, options: Options, lm: CausalLM, target: CausalLM, source: str, reads: bool = False,
                 guided: bool = False, borrowed: DraftKV | None = None) -> None:
        self.options, self.lm, self.target, self.source, self.reading = options, lm, target, source, reads
        self.borrowed = borrowed
        self.vocab = target.vocab
        self.kv: KV = lm.cache()
        self.widths: tuple[int, ...] = widths(options)
        self.guided = guided and not self.widths
        self.calibration, self.stop = Calibration(), Stop(options.worth or 0.0)
        self._rows: dict[int, Memory] = {}

    @property
    def timed(self) -> bool:
        """Whether what is drawn for a row depends on other rows: only where keys are borrowed, which may be those that other rows
        have left in the cache.
        """
        return self.borrowed is not None

    def steps_to_read(self, tokens: int) -> float:
        """Plain steps in which the drafting model reads so many tokens of a text."""
        most = min(READ, self.lm.context // 2)
        step = self.target.costs.draft(self.lm.costs) / self.lm.costs.seconds(1)
        return 0.0 if self.borrowed else tokens / most * self.lm.costs.seconds(most) * step

    @property
    def captures(self) -> tuple[str, ...]:
        return ("queries",) if self.borrowed and self.borrowed.asks else ()

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """A chain, or a comb, for each row; all rows share each forward of the drafting model."""
        if self.borrowed:
            self.borrowed.asks = False
        if self.options.worth is None and not self.widths:
            price = self._price(rows)
            if price >= MOST and (self.borrowed or all(r.request.sampling.greedy for r in rows)):
                return [Proposal()] * len(rows)
            self.stop = Stop(price if price > CHEAP else 0.0, price)
        fitting = [(r, b) for r, b in zip(rows, budgets, strict=True)
                   if r.reach + min(b, self.options.length) < self.lm.reach]
        chains = [chain for row, budget in fitting if (chain := self._chain(row, budget))]
        if chains:
            self._prefill(texts_of(chains))
            draft = self._grow_trees if self.widths else self._extend if self._is_plain(chains) else self._grow_all
            draft(chains)
        built = {c.row.id: self._proposal(c) for c in chains}
        return [built.get(r.id, Proposal()) for r in rows]

    def _price(self, rows: Sequence[Row]) -> float:
        """What a drafted token costs each of these rows, as a share of their plain step."""
        if self.borrowed:
            return self.borrowed.price(rows)
        texts = sum(len(row.texts) for row in rows)
        return self.target.costs.token(texts, max(row.reach for row in rows)) + self.target.costs.draft(self.lm.costs, texts)

    def forget(self, row: Row) -> None:
        for text in row.texts:
            memory = self._rows.pop(text.id, None)
            if memory is not None:
                self.kv.free(memory.slot)
        if self.borrowed:
            self.borrowed.forget(row)

    def _chain(self, row: Row, budget: int) -> Chain | None:
        """An empty chain; one with two branches has a law nearer to the guided target's. None where there can be none yet."""
        memory = self._memory(row, row)
        if memory is None:
            return None
        chain = Chain(row, row, budget, min(budget, self.options.length), memory)
        if row.other is not None and self.guided:
            beside = self._memory(row, row.other)
            chain.other = None if beside is None else Chain(row, row.other, budget, chain.length, beside, chain.tokens)
        return chain

    def _memory(self, row: Row, text: Text) -> Memory | None:
        """The memory of a row's text, cut back to what it shares with the committed tokens (the pending one is always fed anew),
        or brought up to them with keys of the target's; None where that cannot be yet.
        """
        if text.id not in self._rows:
            self._rows[text.id] = Memory(self.kv.take(), Calibration(self.calibration))
        memory = self._rows[text.id]
        self._judge(memory, text.tokens)
        if self.borrowed:
            memory.committed = len(text.tokens) - 1
            memory.drafted.clear()
            return memory if self.borrowed.renew(row, memory.slot) else None
        tail = text.tokens[memory.committed : len(text.tokens) - 1]
        for fed, token in zip(memory.drafted, tail, strict=False):
            if fed != token:
                break
            memory.committed += 1
        memory.committed = min(memory.committed, len(text.tokens) - 1)
        memory.drafted.clear()
        memory.slot.reads = slot_of(text) if self.reading else None
        self.kv.crop(memory.slot, memory.committed)
        memory.committed = memory.slot.length  # 0 where drafted tokens had pushed out what has to be seen again
        return memory

    def _judge(self, memory: Memory, text: Sequence[int]) -> None:
        """Learn from what the text took in place of the last chain, whatever of it was scored."""
        after = text[memory.at :]
        agrees = [token == theirs for token, theirs in zip(memory.chain, after, strict=False)]
        taken = (*agrees, False).index(False)
        memory.calibration.learn(memory.shares if taken < len(agrees) else memory.shares[:taken], taken)
        memory.chain, memory.shares, memory.at = [], [], len(text)

    def _prefill(self, chains: Sequence[Chain]) -> None:
        """Feed what was committed since, where it is much or a text begins; a little is fed together with the pending token."""
        for c in chains:
            start, stop = c.memory.committed, len(c.text.tokens) - 1
            if 0 < self.kv.window <= stop - start:
                start = c.memory.committed = max(0, stop - self.kv.window)  # a block's keys depend on their own tokens only
                self.kv.restart(c.memory.slot, start)
            if stop - start >= (CATCH_UP if start else 1):
                self.lm.prefill(self.kv, c.memory.slot, self._missing(c, stop))
                c.memory.committed = stop

    def _missing(self, chain: Chain, stop: int | None = None) -> list[int]:
        """The row's tokens that the drafting model has not read; its own last id stands for ids that only the target has."""
        tokens = chain.text.tokens[chain.memory.committed : stop]
        return tokens if self.lm.vocab >= self.vocab else [min(token, self.lm.vocab - 1) for token in tokens]

    def _is_plain(self, chains: Sequence[Chain]) -> bool:
        """True when every row wants the likeliest tokens and nothing else."""
        asked = [c.row.request.sampling for c in chains]
        single = self.options.branch == 1 and all(c.other is None for c in chains)
        return single and self.lm.vocab <= self.vocab and all(s.greedy and not s.shapes_logits for s in asked)

    def _extend(self, chains: Sequence[Chain]) -> None:
        """All rows' chains in one call, of the longest's length."""
        missing = [self._missing(c) for c in chains]
        length = max(c.length for c in chains)
        stop = replace(self.stop, calibration=[c.memory.calibration.table for c in chains])
        drafted = self.lm.extend(self.kv, [c.memory.slot for c in chains], missing, length, stop, self.top)
        for c, fed, steps in zip(chains, missing, drafted, strict=True):
            tokens = [step[0][0] for step in steps]
            c.memory.committed += len(fed)
            c.memory.drafted.extend(tokens[:-1])
            c.tokens.extend(tokens[: c.length])
            c.likely = steps[: c.length]
            c.memory.chain, c.memory.shares = list(c.tokens), [step[0][1] for step in c.likely]

    def _grow_trees(self, chains: Sequence[Chain]) -> None:
        """A beam for each row, level by level. Nodes are scratch in the cache: each level's forward takes all nodes so far."""
        missing = [self._missing(c) for c in chains]
        logits = self._feed(chains, missing, committed=True)
        beams = [Beam() for _ in chains]
        for depth in range(min(max(c.length for c in chains), len(self.widths))):
            if depth:
                batch = Batch.of([c.memory.slot for c in chains], [b.tree.tokens for b in beams],
                                 [b.tree.parents for b in beams], [b.front for b in beams])
                logits = self.lm.forward(batch, self.kv)
            place = 0
            for c, beam in zip(chains, beams, strict=True):
                rows = logits[place : place + len(beam.front)]
                place += len(beam.front)
                beam.widen([self._candidates(c, beam, node, x) for node, x in zip(beam.front, rows, strict=True)],
                           self._width(c, depth) if depth < c.length else 0)
        for c, beam in zip(chains, beams, strict=True):
            c.tree = beam

    def _width(self, chain: Chain, depth: int) -> int:
        """Paths kept at a depth: as asked, but no more in all than the budget bears."""
        scale = min(1.0, chain.budget / sum(self.widths)) if len(set(self.widths)) > 1 else 1.0
        return max(1, round(scale * self.widths[depth]))

    def _candidates(self, chain: Chain, beam: Beam, node: int, logits: torch.Tensor) -> list[tuple[int, float]]:
        """The likeliest tokens after a node, with log-probabilities under the row's sampling; impossible ones are left out."""
        sampling = replace(chain.row.request.sampling, processors=())
        path: list[int] = []
        while node != -1:
            path.insert(0, beam.tree.tokens[node])
            node = beam.tree.parents[node]
        scores = shaped(self._fit(logits), sampling, chain.row.tokens + path, chain.row.prompt_len, allowed(chain.row, path))
        law = scores.log_softmax(-1) if sampling.greedy else law_of(scores, sampling).log()
        top = law.topk(min(max(self.widths), self.vocab))
        return [(t, v) for t, v in zip(top.indices.tolist(), top.values.tolist(), strict=True) if v > -math.inf]

    def _grow_all(self, chains: Sequence[Chain]) -> None:
        """Token by token, each chain until it is long enough or no longer worth it."""
        growing = list(chains)
        logits = self._ask(growing, committed=True)
        while growing := [c for c, x in zip(growing, logits, strict=True) if self._add(c, x)]:
            logits = self._ask(growing)

    def _ask(self, chains: Sequence[Chain], committed: bool = False) -> list[torch.Tensor]:
        """Feed what was committed since, or the last drafted token; logits [V] for each chain, its branches combined."""
        texts = texts_of(chains)
        fresh = [self._missing(c) if committed else [c.tokens[-1]] for c in texts]
        found = {id(c): x for c, x in zip(texts, self._feed(texts, fresh, committed), strict=True)}
        return [found[id(c)] if c.other is None or (guidance := c.row.request.guidance) is None else
                guided(found[id(c)], found[id(c.other)], guidance.scale) for c in chains]

    def _feed(self, chains: Sequence[Chain], tokens: Sequence[Sequence[int]], committed: bool = False) -> torch.Tensor:
        slots = [c.memory.slot for c in chains]
        logits = self.lm.forward(Batch.of(slots, tokens, at=[[len(t) - 1] for t in tokens]), self.kv)
        self.kv.keep(slots, [range(len(t)) for t in tokens])
        for c, t in zip(chains, tokens, strict=True):
            if committed:
                c.memory.committed += len(t)
            else:
                c.memory.drafted.extend(t)
        return logits

    def _add(self, chain: Chain, logits: torch.Tensor) -> bool:
        """Add one token under any sampling; True when the chain may go on."""
        row, sampling = chain.row, replace(chain.row.request.sampling, processors=())
        scores = shaped(self._fit(logits), sampling, row.tokens + chain.tokens, row.prompt_len, allowed(row, chain.tokens))
        confidence = scores.softmax(-1) if sampling.greedy else law_of(scores, sampling)
        chain.path *= float(confidence.max())
        stop = self.stop if sampling.greedy or self.options.worth is not None else Stop(TYPICAL)
        if not stop.allows(chain.path, chain.gain, len(chain.tokens)):
            return False
        chain.gain += chain.path
        token = self._pick(chain, confidence, sampling.greedy)
        if self.options.branch > 1:
            others = [t for t in confidence.topk(min(self.options.branch + 1, self.vocab)).indices.tolist() if t != token]
            chain.leaves += [(len(chain.tokens), t) for t in others[: self.options.branch - 1]]
        chain.tokens.append(token)
        chain.laws.append(confidence)
        return len(chain.tokens) < chain.length

    def _pick(self, chain: Chain, law: torch.Tensor, greedy: bool) -> int:
        if greedy or not self.options.drawn:
            return int(law.argmax())
        row, depth = chain.row, len(chain.tokens)
        if row.request.reproducible:  # the target's own noise at that place: the likelier to agree, and chosen anyway
            return row.dice.draw(law, (Dice.VERIFY, len(row.tokens) + depth, Dice.DRAW))
        return row.dice.draw(law, (Dice.DRAFT, len(row.tokens), depth))

    def _fit(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits over the target's ids, where one of the two heads is padded further than the other."""
        short = self.vocab - logits.shape[-1]
        return logits[: self.vocab] if short <= 0 else torch.nn.functional.pad(logits, (0, short), value=-torch.inf)

    def _proposal(self, chain: Chain) -> Proposal:
        """The chain first, then the leaves beside it, as far as the budget goes; leaves are always chosen."""
        if chain.tree is not None:
            return replace(chosen := chain.tree.tree.best(chain.budget), source=[self.source] * len(chosen))
        sampling = chain.row.request.sampling
        drawn = self.options.drawn and not sampling.greedy
        n = len(chain.tokens)
        main = Proposal.chain(chain.tokens, self.source, drawn, chain.laws)
        leaves = chain.leaves[: max(0, chain.budget - n)]
        if chain.likely:
            main = replace(main, likely={depth - 1: step for depth, step in enumerate(chain.likely)})
        if not leaves:
            return main
        return Proposal([*main.tokens, *(t for _, t in leaves)], [*main.parents, *(depth - 1 for depth, _ in leaves)],
                        [*main.drawn, *[False] * len(leaves)], [self.source] * (n + len(leaves)), main.distributions)


def texts_of(chains: Sequence[Chain]) -> list[Chain]:
    """The chains and their second branches."""
    return [*chains, *(c.other for c in chains if c.other is not None)]


def allowed(row: Row, path: Sequence[int]) -> torch.Tensor | None:
    """What the row's grammar lets follow a drafted path, so that nothing is drafted which the target may not take."""
    return None if row.grammar is None else row.grammar.allowed(path)
