"""What `paceline generate --compare` shows: one prompt, plain and drafted, in turns. Knows no terminal."""

from __future__ import annotations

from typing import Any

from paceline import plugins
from paceline.bench.methods import Paceline
from paceline.bench.timing import Group, Runs, measure
from paceline.doors import encode
from paceline.lm import LM
from paceline.rules import is_lossless

__all__ = ["compare"]


def compare(lm: LM, prompt: Any, settings: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Time plain and drafted decoding of one prompt in turns (median of `repeats` after a warm-up, prefill included).

    prompt: as `paceline.generate` takes one; settings: its keyword arguments, `drafter` and `max_new_tokens` among
    them.
    """
    ids = encode(lm, prompt, settings.get("tools") or None)
    shared = {key: value for key, value in settings.items() if key not in ("drafter", "max_new_tokens")}
    methods = [Paceline("plain", lm, "none", shared), Paceline("drafted", lm, settings["drafter"], shared)]
    runs = measure(methods, [Group("prompt", [ids])], settings["max_new_tokens"], repeats)
    rate = {name: len(r.tokens(0)[0]) / r.seconds(0) for name, r in runs.items()}
    return {
        "identical": runs["plain"].tokens(0) == runs["drafted"].tokens(0),
        "greedy": settings["sampling"].greedy,
        "lossless": is_lossless(plugins.make("rule", settings.get("rule", "lossless"))),
        "setting": f"{lm.forward_name} forward, {str(lm.dtype).removeprefix('torch.')}, median of {repeats}.",
        "methods": {name: _row(r, rate[name], rate[name] / rate["plain"]) for name, r in runs.items()},
    }


def _row(runs: Runs, rate: float, speedup: float) -> dict[str, Any]:
    [stats] = runs.stats(0)
    return {
        "tokens_per_second": rate,
        "speedup": speedup,
        "seconds_per_repeat": [batch.seconds for batch in runs.batches[0]],
        "median_seconds": runs.seconds(0),
        "acceptance_length": stats.acceptance_length,
        "accept_per_position": stats.accept_per_position,
        "target_forwards": stats.rounds,
        "new_tokens": stats.new_tokens,
        "seconds": stats.seconds,
        "sources": stats.sources,
    }
