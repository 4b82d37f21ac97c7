"""What the benchmarks on the real model, and on shapes that people run, have to show; README's table is made of these."""

from __future__ import annotations

from paceline.bench.specs import ASKED
from paceline.bench.summary import PLAIN
from paceline.bench.targets import (
    Target,
    answers,
    divergence,
    identical,
    over_one,
    perplexity,
    prefill,
    share_read,
    speed,
    step,
    task,
)

__all__ = ["SMOL"]

AUTO, OURS = "paceline/auto", "paceline/"
LLAMA, LLAMA_LOOKUP, OPENVINO_LOOKUP = "llama_cpp/plain", "llama_cpp/prompt_lookup", "openvino/prompt_lookup"
LOOKUP = "transformers/prompt_lookup"

SMOL = [
    Target("plain decoding vs llama.cpp, Q4_1", 1.35, "smol", speed("smol", PLAIN, LLAMA)),
    Target("the same weights as Q4_0, which llama.cpp repacks", 1.1, "smol_q4_0", speed("smol_q4_0", PLAIN, LLAMA)),
    Target("`auto` vs llama.cpp, Q4_1", 1.6, "smol", speed("smol", AUTO, LLAMA)),
    Target("the same as Q4_0", 1.3, "smol_q4_0", speed("smol_q4_0", AUTO, LLAMA)),
    Target("`auto` vs llama.cpp's prompt lookup", 2.0, "smol", speed("smol", AUTO, LLAMA_LOOKUP)),
    Target("`auto` vs OpenVINO GenAI's prompt lookup", 2.0, "smol", speed("smol", AUTO, OPENVINO_LOOKUP)),
    Target("`auto` vs transformers' prompt lookup, fp32", 2.0, "smol_transformers", speed("smol_transformers", AUTO, LOOKUP)),
    Target("`auto` vs our plain decoding", 1.2, "smol", speed("smol", AUTO, PLAIN)),
    Target("the same, the worst kind of text", 0.98, "smol", task("smol", AUTO, *ASKED)),
    Target("sampled: `auto` vs our plain decoding", 0.98, "smol_sampled", speed("smol_sampled", AUTO, PLAIN)),
    Target("sampled: `auto` vs llama.cpp", 1.35, "smol_sampled", speed("smol_sampled", AUTO, LLAMA)),
    Target("drafted text is plain decoding's, every drafter", 1.0, "smol", identical("smol", False, OURS)),
    Target("text with float activations is transformers' fp32 text", 1.0, "quality_smol", answers("quality_smol")),
    Target("perplexity with int8 activations above that with float ones, percent", 0.3, "quality_smol",
           perplexity("quality_smol"), most=True),
    Target("KL from float: int8 activations over llama.cpp's kernels, Q4_1", 1.0, "quality_smol",
           divergence("quality_smol", "llama_cpp"), most=True),
    Target("the same for Q4_0", 1.0, "quality_smol_q4_0", divergence("quality_smol_q4_0", "llama_cpp"), most=True),
    Target("a step behind 64 and 500 tokens vs llama.cpp, Q4_1, the lesser", 1.35, "curve_smol",
           step("curve_smol", "llama_cpp", 64, 500)),
    Target("the same as Q4_0", 1.1, "curve_smol_q4_0", step("curve_smol_q4_0", "llama_cpp", 64, 500)),
    Target("a forward of 4 tokens over one", 1.3, "curve_smol", over_one("curve_smol", 4), most=True),
    Target("a forward of 8 tokens over one", 2.1, "curve_smol", over_one("curve_smol", 8), most=True),
    Target("prefill vs llama.cpp, Q4_1", 2.0, "curve_smol", prefill("curve_smol", "llama_cpp")),
    Target("prefill vs transformers, fp32", 1.2, "curve_smol", prefill("curve_smol", "transformers")),
    Target("weight bytes read a second in a plain step vs the read limit", 0.75, "curve_smol", share_read("curve_smol")),
    Target("1.5 B shape, Q4_K_M: a step vs llama.cpp", 1.1, "curve_1.5b", step("curve_1.5b", "llama_cpp", 64, 500)),
    Target("3 B shape: a step vs llama.cpp", 1.1, "curve_3b", step("curve_3b", "llama_cpp", 64, 500)),
    Target("8 B shape: a step vs llama.cpp", 1.0, "curve_8b", step("curve_8b", "llama_cpp", 64, 500)),
    Target("8 B shape: a forward of 4 tokens over one", 1.3, "curve_8b", over_one("curve_8b", 4), most=True),
]
