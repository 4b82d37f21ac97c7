"""`paceline bench --replay`: how drafters that need no model would have fared on recorded texts. Knows no terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paceline.bench.machine import describe
from paceline.bench.metrics import accept_per_position, ratio, share
from paceline.core.request import Request
from paceline.core.stats import Stats
from paceline.engine import Engine
from paceline.engine.auto import limited
from paceline.errors import ModelError, RequestError
from paceline.lm.load import load_tokenizer
from paceline.replay.lm import Costs, ReplayLM
from paceline.replay.recording import Record, read_recorded

__all__ = ["Config", "Decoded", "replay"]

MARGIN = 64  # tokens a draft may reach beyond the end of a text, as it may where nobody knows the end


@dataclass(frozen=True)
class Config:
    """What to replay.

    file: JSON lines, as `read_recorded` says. tokenizer: zoo:NAME, a hub id or a folder. token_cost: what one more token in a
    forward is taken to cost, as a share of the forward of one; drafters draft while it pays. budget: most nodes per round (None =
    the controller's). limit: the first so many records (None = all). Raises RequestError on bad values.
    """

    file: str
    drafters: tuple[str, ...] = ("ngram",)
    tokenizer: str = "zoo:tiny"
    token_cost: float = 0.05
    budget: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.token_cost < 1:
            raise RequestError(f"token_cost must be at least 0 and below 1; found {self.token_cost}.")
        if self.limit is not None and self.limit < 1:
            raise RequestError(f"limit must be at least 1; found {self.limit}.")


@dataclass(frozen=True)
class Decoded:
    """One record, decoded: its stats, whether the recorded text came out, and whose it was."""

    stats: Stats
    identical: bool
    tenant: str = ""


def replay(config: Config, tick: Callable[[int], None] = lambda calls: None) -> dict[str, Any]:
    """Decode every record with every drafter and return the report. `tick(total)` is called after each record.

    Records run one after another, in file order, through one engine per drafter, so what a drafter keeps of earlier texts helps
    with later ones. Acceptance and forwards are what decoding with the recorded model would have had; what forwards cost is
    assumed, never measured, so there is no speed here but that of drafting.
    """
    tokenizer = load_tokenizer(config.tokenizer)
    records = read_recorded(Path(config.file), tokenizer, config.limit)
    lm = target(records, tokenizer, config.token_cost)
    engines = {spec: engine(lm, spec, config.budget) for spec in config.drafters}  # a mistake should not cost a run
    total, drafters = len(engines) * len(records), {}
    for spec, drafting in engines.items():
        done = []
        for record in records:
            done.append(decode(drafting, lm, record))
            tick(total)
        drafters[spec] = figures(done) | {"notes": notes(drafting)}
    return {
        "machine": describe(), "settings": asdict(config), "records": len(records), "vocabulary": lm.vocab,
        "prompt_tokens": sum(len(r.prompt) for r in records), "output_tokens": sum(len(r.output) for r in records),
        "drafters": drafters,
    }  # fmt: skip


def target(records: Sequence[Record], tokenizer: Any, token_cost: float) -> ReplayLM:
    """A target wide and long enough for all records."""
    largest = max(max(*r.prompt, *r.output) for r in records)
    longest = max(len(r.prompt) + len(r.output) for r in records)
    return ReplayLM(tokenizer, max(len(tokenizer), largest + 1), longest + 2 * MARGIN, Costs(token_cost))


def engine(lm: ReplayLM, spec: str, budget: int | None) -> Engine:
    """An engine with one drafter. Raises RequestError for a drafter that needs a model."""
    try:
        return Engine(lm, spec, controller=limited(spec, budget))  # type: ignore[arg-type]
    except (AttributeError, ModelError) as error:  # it asked the target for something that only a model has
        if isinstance(error, AttributeError) and error.obj is not lm:
            raise
        raise RequestError(f"The drafter {spec!r} needs a model, and a replay has none: use one that goes by the text alone, "
                           "such as ngram or suffix.") from error


def decode(engine: Engine, lm: ReplayLM, record: Record) -> Decoded:
    """One record. The engine is told when the text ends, but not beforehand, which would shorten drafts."""
    lm.text = [*record.prompt, *record.output]
    length = len(lm.text)
    request = Request(record.prompt, max_new_tokens=len(record.output) + MARGIN, eos=record.ends, tools=record.tools,
                      tenant=record.tenant, until=lambda tokens: len(tokens) >= length)
    [written] = engine.run([request])
    return Decoded(written.stats, written.tokens == list(record.output), record.tenant)


def figures(done: Sequence[Decoded]) -> dict[str, Any]:
    """What came of all records, of each half of them in their order, and of each tenant."""
    half = len(done) // 2
    tenants = dict.fromkeys(d.tenant for d in done)
    parts = {"first": done[:half], "second": done[half:]} if half else {}
    owners = {name: [d for d in done if d.tenant == name] for name in tenants} if len(tenants) > 1 else {}
    return {
        **_figures([d.stats for d in done]),
        "identical": share([d.identical for d in done]),
        "by_half": {name: _lengths([d.stats for d in part]) for name, part in parts.items()},
        "by_tenant": {name: _lengths([d.stats for d in part]) for name, part in owners.items()},
    }


def _lengths(stats: Sequence[Stats]) -> dict[str, Any]:
    """Tokens per forward, pooled, with a bootstrap interval over records."""
    length = per([s.rounds for s in stats], [s.new_tokens for s in stats])
    return {
        "records": len(stats),
        "new_tokens": sum(s.new_tokens for s in stats),
        "target_forwards": sum(s.rounds for s in stats),
        "acceptance_length": length["value"],
        "acceptance_length_interval": edges(length),
    }


def _figures(stats: Sequence[Stats]) -> dict[str, Any]:
    lengths = _lengths(stats)
    drafted, accepted = sum(s.drafted for s in stats), sum(s.accepted for s in stats)
    seconds = per([s.new_tokens for s in stats], [s.seconds["draft"] for s in stats])
    return lengths | {
        "num_drafts": sum(s.drafted_per_position[0] for s in stats if s.drafted_per_position),
        "num_draft_tokens": drafted,
        "num_accepted_tokens": accepted,
        "acceptance_rate": accepted / drafted if drafted else None,
        "drafted_per_forward": drafted / lengths["target_forwards"],
        "accept_per_position": accept_per_position([s.accepted_per_position for s in stats], lengths["target_forwards"]),
        "sources": _sources(stats),
        "draft_seconds_per_token": seconds["value"],
        "draft_seconds_per_token_interval": edges(seconds),
        "failures": sorted({failure for s in stats for failure in s.failures}),
    }


def _sources(stats: Sequence[Stats]) -> dict[str, dict[str, Any]]:
    """What each source of nodes gave, by the drafters' own names for them."""
    total: dict[str, list[int]] = {}
    for s in stats:
        for source, counts in s.sources.items():
            total[source] = [a + b for a, b in zip(total.get(source, [0, 0]), counts, strict=True)]
    return {source: {"drafted": d, "accepted": a, "acceptance_rate": a / d} for source, (d, a) in sorted(total.items())}


def edges(figure: dict[str, Any]) -> list[float] | None:
    """A figure's interval; None for one record, which has none."""
    return None if figure["low"] is None else [figure["low"], figure["high"]]


def per(whole: Sequence[float], part: Sequence[float]) -> dict[str, Any]:
    """The sum of `part` over the sum of `whole`, with a bootstrap 95 % interval over records."""
    ours = np.array([whole, part], dtype=np.float64).T
    return ratio(ours, ours[:, [0, 0]])  # against a rate of 1


def notes(engine: Engine) -> list[str]:
    """What the figures of a drafter do not show."""
    captures = engine.drafters[0].captures
    return [f"it reads {', '.join(sorted(captures))} of the target, of which a replay knows the recorded token only; with a "
            "model it drafts better"] if captures else []
