"""A model some of whose layers look at the first and the last keys alone, for good: the static plan of LightTransfer-Train
(Zhang et al. 2024, arXiv 2410.13846, section 4), before any training.

On each of many texts a selector says which layers are lazy; those that are so most often are cut, as many as a text has on
average. The folder is of a type whose layers have windows each for itself (`layer_types`, `sliding_window`), so that stock
transformers opens it, without the first keys, for which there is no standard setting. Ours, `"paceline": {"sinks": 4}`, is what
`paceline.load` reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from paceline.errors import DataError, ModelError
from paceline.lm import LM, load
from paceline.lm.load import quiet, resolve
from paceline.lm.sources.gguf import FACTORS, GGUF
from paceline.patterns import Pattern
from paceline.selectors import LayerSelector, choosing_layers
from paceline.train.checkpoint import check_replaceable, replace_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Hybrid", "convert"]

KINDS = {"llama": "ministral", "mistral": "ministral", "qwen2": "qwen2", "qwen3": "qwen3"}  # that have a window for each layer
OURS = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_parameters", "tie_word_embeddings",
        "bos_token_id", "eos_token_id", "pad_token_id")  # fmt: skip


class Hybrid(NamedTuple):
    """The layers that were cut, in how many of the texts each layer was lazy, and how many were read or too short."""

    cut: list[int]
    counts: dict[int, int]
    texts: int
    short: int


def convert(model: str, out: Path, selector: Any, texts: Sequence[str], context: int = 2048) -> Hybrid:
    """Write the hybrid model to a folder. model: as `paceline.load` takes it. selector: spec of one that chooses layers. texts:
    what it looks at, up to `context` tokens of each: questions with their answers, since short questions tell no layers apart.

    Raises ModelError for a model that has windows already or has no type with windows for each layer, SpecError for layers that
    it does not have, DataError for a folder with other files or
    the model's own.
    """
    check_replaceable(out, "config.json")
    chosen, lm = choosing_layers(selector), load(model)
    refuse(lm)
    if out.resolve() == Path(resolve(model)).resolve():
        raise DataError(f"Expected another folder than the model's for --out, found {out} for both.")
    plans = [plan for text in texts if (plan := plan_of(lm, chosen, text, context))]
    if not plans:
        raise ModelError(f"None of {len(texts)} texts tells the layers apart: give longer ones, or a selector that keeps fewer "
                         "keys.")
    counts = Counter(layer for plan in plans for layer in plan)
    cut = sorted(sorted(counts, key=lambda layer: (-counts[layer], layer))[: round(counts.total() / len(plans))])
    write(lm, out, cut, next(iter(plans[0].values())))
    return Hybrid(cut, dict(sorted(counts.items())), len(plans), len(texts) - len(plans))


def refuse(lm: LM) -> None:
    settings = lm.text_config
    windows = getattr(settings, "sliding_window", None) and "full_attention" not in (getattr(settings, "layer_types", None) or ())
    if getattr(settings, "paceline", None) or windows or "sliding_attention" in (getattr(settings, "layer_types", None) or ()):
        raise ModelError(f"{lm.name!r} has layers with windows already: convert the model from which it was made.")
    if settings.model_type not in KINDS or getattr(settings, "attention_bias", False) or getattr(settings, "mlp_bias", False):
        raise ModelError(f"Models of the type {settings.model_type} have no windows for each layer; known are "
                         f"{', '.join(KINDS)}, without biases beyond the family's own.")
    if isinstance(lm.source, GGUF) and FACTORS in lm.source.tensors:
        raise ModelError(f"{lm.name!r} has rotations that a file tells by factors: convert the model from which it was made.")
    if lm.tokenizer is None:
        raise ModelError(f"{lm.name!r} has no tokenizer, with which to read the texts that tell its layers apart.")


@torch.inference_mode()
def plan_of(lm: LM, selector: LayerSelector, text: str, context: int) -> dict[int, Pattern]:
    """What the selector says of one text."""
    tokens, kv = list(lm.tokenizer(text)["input_ids"])[: min(context, lm.context)], lm.cache()
    slot = kv.take()
    trace = lm.prefill(kv, slot, tokens, range(max(0, len(tokens) - selector.last), len(tokens)))
    return dict(selector.select(trace, slot))


def write(lm: LM, out: Path, cut: Sequence[int], pattern: Pattern) -> None:
    """The model with these layers under the pattern."""
    made = empty(lm, cut, pattern)
    state = lm.source.state() if isinstance(lm.source, GGUF) else lm.model.state_dict()
    made.load_state_dict(state | ({} if "lm_head.weight" in state else {"lm_head.weight": state["model.embed_tokens.weight"]}))

    def fill(fresh: Path) -> None:
        made.save_pretrained(fresh)
        words(lm).save_pretrained(fresh)

    with quiet():
        replace_folder(out, fill)


def empty(lm: LM, cut: Sequence[int], pattern: Any) -> PreTrainedModel:
    """A model of the type that has windows for each layer, with the settings of this one."""
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    given, kind = lm.text_config, KINDS[lm.text_config.model_type]
    known = {name: value for name in OURS if (value := getattr(given, name, None)) is not None}
    kinds = ["sliding_attention" if layer in cut else "full_attention" for layer in range(given.num_hidden_layers)]
    windows = {"layer_types": kinds, "sliding_window": pattern.window}
    if kind != "ministral":
        windows["use_sliding_window"] = True
    if isinstance(lm.source, GGUF):
        known["tie_word_embeddings"] = "output.weight" not in lm.source.tensors
    config = AutoConfig.for_model(kind, **known, **windows, paceline={"sinks": pattern.sinks}, dtype=lm.dtype)
    made = AutoModelForCausalLM.from_config(config, dtype=lm.dtype)
    ends = getattr(lm.generation, "eos_token_id", None)
    made.generation_config = GenerationConfig(eos_token_id=ends)
    return made


def words(lm: LM) -> Any:
    """Its tokenizer as transformers has them."""
    from transformers import PreTrainedTokenizerFast

    given = lm.tokenizer
    if hasattr(given, "save_pretrained"):
        return given
    made = PreTrainedTokenizerFast(tokenizer_object=given.backend_tokenizer, bos_token=given.bos_token, eos_token=given.eos_token)
    made.chat_template = given.chat_template
    return made
