"""What the benchmarks on the embedded models have to show."""

from __future__ import annotations

from paceline.bench import specs
from paceline.bench.best import BEST_EACH, BEST_OVERALL
from paceline.bench.summary import PLAIN
from paceline.bench.targets import Figure, Reports, Target, identical, low, mean, part, share_read, speed, task
from paceline.bench.tasks import KINDS, SPEC_BENCH

__all__ = ["ZOO"]

PAIR, FOUR, NGRAM = f"paceline/{specs.PAIR}", f"paceline/{specs.FOUR}", "paceline/ngram"
CAPE, GLIDE = f"paceline/{specs.CAPE}", "paceline/glide"
AUTO, COLD = "paceline/auto", "paceline/auto, cold"
STOCK, LOOKUP = "transformers/plain", "transformers/prompt_lookup"
ASSISTED = ("transformers/assisted", "transformers/assisted_heuristic")


def _acceptance(reports: Reports, quiet: bool) -> Figure:
    """Acceptance length over that of assisted generation at the same, constant, draft length."""
    ours, theirs = (part(reports["zoo"], name, quiet)["acceptance_length"] for name in (FOUR, ASSISTED[0]))
    return Figure(ours / theirs)


def _outside(reports: Reports, quiet: bool) -> Figure:
    return Figure(part(reports["grown"], PAIR, quiet)["outside_forwards"])


ZOO = [
    Target("plain decoding vs transformers `generate`, fp32, zoo", 1.8, "zoo", speed("zoo", PLAIN, STOCK)),
    Target("the same, grown target", 2.0, "grown", speed("grown", PLAIN, STOCK)),
    Target("plain decoding, grown target: weight bytes read per second vs the read limit", 0.75, "grown", share_read("grown")),
    Target("`small_model` vs our plain, mean over the kinds of text", 1.5, "zoo", mean("zoo", PAIR, PLAIN)),
    Target("`small_model` vs assisted generation, its better schedule", 2.0, "zoo", mean("zoo", PAIR, *ASSISTED)),
    Target("the same with stock forward and linears on our side", 1.3, "zoo_stock", mean("zoo_stock", PAIR, *ASSISTED)),
    Target("acceptance length vs assisted generation's, same draft length", 0.98, "zoo", _acceptance),
    Target("`ngram` vs prompt lookup", 1.5, "zoo", mean("zoo", NGRAM, LOOKUP)),
    Target("the same with stock forward and linears on our side", 1.1, "zoo_stock", mean("zoo_stock", NGRAM, LOOKUP)),
    Target("`ngram` vs our plain, tools", 1.3, "zoo", task("zoo", NGRAM, "tools")),
    Target("`ngram` vs our plain, the worst kind of text", 0.95, "zoo", task("zoo", NGRAM, *KINDS)),
    Target("time outside forwards in a drafted round, one row, grown target", 0.05, "grown", _outside, most=True),
    Target("8 rows vs 1 row, drafted, grown target", 2.5, "grown_rows", speed("grown_rows", PAIR, f"{PAIR}, one by one")),
    Target("GliDe + CaPE, `bins=auto`, vs our plain, mean over the kinds of text", 1.8, "zoo", mean("zoo", CAPE, PLAIN)),
    Target("the same, grown target", 2.2, "grown", mean("grown", CAPE, PLAIN)),
    Target("GliDe chains, grown target, bf16, exact mode", 2.2, "grown_bf16", mean("grown_bf16", GLIDE, PLAIN)),
    Target("`auto` vs the best fixed drafter of each prompt, zoo", 0.95, "auto", speed("auto", AUTO, BEST_EACH)),
    Target("the same, `auto` cold", 0.95, "auto", speed("auto", COLD, BEST_EACH)),
    Target("the same, grown target", 0.95, "auto_grown", speed("auto_grown", AUTO, BEST_EACH)),
    Target("the same, grown target, `auto` cold", 0.95, "auto_grown", speed("auto_grown", COLD, BEST_EACH)),
    Target("`auto` vs the one fixed drafter that is best over the mix, zoo", 1.03, "auto", speed("auto", AUTO, BEST_OVERALL)),
    Target("the same, grown target", 1.03, "auto_grown", speed("auto_grown", AUTO, BEST_OVERALL)),
    Target("`auto` vs our plain, random prompts, temperature 1.5", 0.98, "auto_incompressible",
           speed("auto_incompressible", AUTO, PLAIN)),
    Target("`auto` vs our plain, Spec-Bench", 0.98, "auto_spec_bench", speed("auto_spec_bench", AUTO, PLAIN)),
    Target("the same, lower end of the interval, its worst group", 0.95, "auto_spec_bench",
           low("auto_spec_bench", AUTO, *SPEC_BENCH)),
    Target("fp32 greedy, every drafter, 1 row: identical", 1.0, "identity_fp32", identical("identity_fp32", True)),
    Target("the same, 5 rows", 1.0, "identity_fp32_rows", identical("identity_fp32_rows", True)),
    Target("bf16 greedy, chains, exact: identical", 1.0, "identity_bf16", identical("identity_bf16", False)),
    Target(
        "speed of exact mode vs without it, bf16, plain",
        1 / 1.08,
        "zoo_bf16",
        speed("zoo_bf16", PLAIN, f"{PLAIN}, inexact"),
    ),
]
