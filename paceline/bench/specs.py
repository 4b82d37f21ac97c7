"""What stands behind `benchmarks/`, as data: the drafters that targets name, and which benchmarks are run, in order."""

from dataclasses import replace

from paceline.bench.config import Config
from paceline.bench.curve import Curve
from paceline.bench.quality import Quality
from paceline.bench.shapes import SHAPES
from paceline.bench.tasks import KINDS, SPEC_BENCH
from paceline.engine.auto import AUTO, EMBEDDED, FREE, MERGED

__all__ = ["ASKED", "CAPE", "FOUR", "PAIR", "SUITES"]

ASKED = ("code", "math", "api_bank", "bfcl", *SPEC_BENCH, "long_summaries")  # kinds of text that the real model is asked for
SHORT = ("code", "math", "bfcl", "mt_bench", "summarization", "rag")
SMOL = Config(model="smol", drafters=(FREE, "ngram", AUTO), tasks=ASKED, chat=True, max_new_tokens=256, limit=40, repeats=2,
              against=("llama_cpp", "openvino"))  # fmt: skip
SAMPLED = replace(SMOL, temperature=0.8, top_p=0.95)
FORWARDS = Curve(model="smol", against=("llama_cpp", "transformers"))
WORDS = Quality(model="smol", tasks=("code", "math", *SPEC_BENCH), limit=13, against=("llama_cpp", "transformers"))
BIG = {"1.5b": (64, 500, 2000), "3b": (64, 500, 2000), "8b": (64, 500)}  # to fill a text takes minutes

PAIR = "small_model:model=zoo:tiny-draft"
FOUR = f"{PAIR},length=4,worth=0"  # always four tokens, as assisted generation is measured
CAPE = "cape:inner=glide,bins=auto"
HEADS = ("glide", CAPE, "longspec")
ZOO = Config(drafters=(PAIR, FOUR, "ngram", *HEADS, MERGED), dtype="float32", limit=8, repeats=2)
GROWN = replace(ZOO, drafters=(PAIR, *HEADS, MERGED), grow=100.0, limit=6, repeats=2)
EVERY = (PAIR, "ngram", f"{PAIR},beam=4", "glide", "longspec", "cape:inner=glide,bins=paper", MERGED)
ARMS = replace(ZOO, drafters=(FREE, "ngram", *EMBEDDED, AUTO), tasks=(*KINDS, "copying"), cold=True, repeats=3)
NEVER_SLOWER = replace(ARMS, drafters=(AUTO,), tasks=SPEC_BENCH, limit=16, max_new_tokens=96)
IDENTITY = replace(ZOO, drafters=EVERY, repeats=1, limit=50)
SUITES: dict[str, dict[str, Config | Curve | Quality]] = {
    "smol": {
        "smol": SMOL,
        "smol_sampled": SAMPLED,
        "smol_q4_0": replace(SMOL, requantise="q4_0", drafters=(AUTO,), against=("llama_cpp",)),
        "smol_transformers": replace(SMOL, drafters=(AUTO,), against=("transformers",), limit=2, repeats=1),
        "quality_smol": WORDS,
        "quality_smol_q4_0": replace(WORDS, requantise="q4_0", against=("llama_cpp",)),
        "curve_smol": FORWARDS,
        "curve_smol_q4_0": replace(FORWARDS, requantise="q4_0", against=("llama_cpp",)),
        **{f"curve_{shape}": Curve(shape=shape, behind=BIG[shape], prefill=(512,), against=("llama_cpp",)) for shape in SHAPES},
    },
    "smol_quick": {
        "smol": replace(SMOL, tasks=SHORT, limit=4, max_new_tokens=96, repeats=1,
                        against=("llama_cpp", "openvino/prompt_lookup")),
        "curve_smol": replace(FORWARDS, behind=(64, 500), prefill=(512,), against=("llama_cpp",)),
    },
    "zoo": {
        "zoo": replace(ZOO, against=("transformers",)),
        "zoo_stock": replace(ZOO, against=("transformers",), forward="stock", packed=False, limit=4, repeats=2,
                             drafters=(PAIR, "ngram")),
        "zoo_bf16": replace(ZOO, drafters=(PAIR, "ngram"), against=("transformers/plain",), dtype="bfloat16", inexact=True),
        "spec_bench": replace(ZOO, drafters=(PAIR, "ngram", *HEADS),
                              against=("transformers/plain",), tasks=("spec_bench",), limit=40, repeats=1),
        "grown": replace(GROWN, against=("transformers/plain", "llama_cpp/plain")),
        "grown_bf16": replace(GROWN, dtype="bfloat16", exact=True, drafters=("glide",)),
        "grown_rows": replace(GROWN, rows=8, limit=8, repeats=2, drafters=(PAIR, "glide")),
        "auto": ARMS,
        "auto_grown": replace(ARMS, grow=100.0, limit=5, max_new_tokens=96),
        "auto_incompressible": replace(NEVER_SLOWER, tasks=("incompressible",), temperature=1.5),
        "auto_spec_bench": NEVER_SLOWER,
        "identity_fp32": IDENTITY,
        "identity_fp32_rows": replace(IDENTITY, rows=5),
        "identity_bf16": replace(IDENTITY, dtype="bfloat16", exact=True),
    },
    "gpu": {
        "gpu_fp32": replace(ZOO, against=("transformers",), device="cuda"),
        "gpu_bf16": replace(ZOO, against=("transformers",), dtype="bfloat16", device="cuda"),
        "gpu_grown_rows": replace(GROWN, rows=8, limit=8, dtype="bfloat16", device="cuda"),
    },
}
