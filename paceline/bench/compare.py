"""What `paceline generate --compare` shows: one prompt, plain and drafted, in turns. Knows no terminal."""

from __future__ import annotations

from typing import Any

from paceline import plugins
from paceline.api import encode
from paceline.bench.methods import Paceline
from paceline.bench.metrics import ratio
from paceline.bench.noise import impossible
from paceline.bench.report import number_format
from paceline.bench.timing import Group, Runs, measure, rounds, table
from paceline.engine.options import RequestOptions
from paceline.lm import LM
from paceline.rules import is_lossless

__all__ = ["compare"]


def compare(lm: LM, prompt: Any, settings: dict[str, Any], options: RequestOptions, repeats: int) -> dict[str, Any]:
    """Time plain and drafted decoding of one prompt in turns (median of `repeats` after a warm-up, prefill included).

    prompt, options: as `paceline.generate` takes them; settings: its keyword arguments for the engine, `drafter` among them.
    """
    ids = encode(lm, prompt, options.tools or None)
    shared = settings | {"options": options, "tenant": options.tenant}
    del shared["drafter"]
    methods = [Paceline("plain", lm, "none", shared), Paceline("drafted", lm, settings["drafter"], shared)]
    runs = measure(methods, [Group("prompt", [ids])], options.max_new_tokens, repeats)
    return {
        "identical": runs["plain"].tokens(0) == runs["drafted"].tokens(0),
        "greedy": options.sampling.greedy,
        "lossless": is_lossless(plugins.make("rule", settings.get("rule", "lossless"))),
        "setting": f"{lm.forward_name} forward, {number_format(lm.describe())}, median of {repeats}.",
        "methods": {name: _row(r, runs["plain"]) for name, r in runs.items()},
    }


def _row(runs: Runs, plain: Runs) -> dict[str, Any]:
    """One prompt tells no interval, so a speed-up that acceptance does not allow is cut to what it does, and said to be noise."""
    [stats] = runs.stats(0)
    return {
        "tokens_per_second": len(runs.tokens(0)[0]) / runs.seconds(0),
        "speedup": ratio(table(runs, [0]), table(plain, [0]), rounds(runs, [0]))["value"],
        "above_acceptance": impossible(runs, plain, [0]),
        "seconds_per_repeat": [batch.seconds for batch in runs.batches[0]],
        "median_seconds": runs.seconds(0),
        "acceptance_length": stats.acceptance_length,
        "accept_per_position": stats.accept_per_position,
        "target_forwards": stats.rounds,
        "new_tokens": stats.new_tokens,
        "seconds": stats.seconds,
        "sources": stats.sources,
    }
