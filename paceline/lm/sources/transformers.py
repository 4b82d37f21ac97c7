"""A transformers model at hand: described where it is a plain one of a known family, else run as it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paceline.lm.decoder import Decoder
from paceline.lm.rotary import Rope
from paceline.lm.sources.compatibility import device_of, refuse
from paceline.lm.sources.contents import settings_of, tensors_of
from paceline.lm.sources.llama import FAMILIES, Tensors, described
from paceline.lm.sources.plain import plain
from paceline.lm.weights.restored import Restored

__all__ = ["Module", "tokenizer_at"]


class Module:
    """A `Source`: the model is never changed, and its weights are read where they are."""

    module, tokenizer = True, None

    def __init__(self, model: Any) -> None:
        refuse(model)
        self.model, self.settings = model, model.config.get_text_config()
        self.name = model.config.name_or_path or type(model).__name__
        self.live = plain(model)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.vocab, self.dtype, self.device = self._facts()

    @property
    def generation(self) -> Any:
        """Its generation config as it is now."""
        return getattr(self.model, "generation_config", None)

    def decoder(self, context: int) -> tuple[Decoder | None, str]:
        """From the module's named weights. Raises nothing: what is not as its settings say is not described."""
        if self.live or self.settings.model_type not in FAMILIES or self.settings is not self.model.config:
            return None, f"the family {self.settings.model_type} is not known to it"
        held = {name: weight.detach() for name, weight in self.model.named_parameters(remove_duplicate=False)}
        decoder, why = described(self.settings.to_dict(), Tensors(held.get), self._rope(), context)
        if decoder is not None and self._retuned(decoder):
            return None, "its layers are not as its configuration says"
        return decoder, why

    def embeddings(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        embedding, output = (getattr(module, "weight", None) for module in
                             (self.model.get_input_embeddings(), self.model.get_output_embeddings()))
        return None if embedding is None else embedding.detach(), None if output is None else output.detach()

    def first_embeddings(self, count: int) -> torch.Tensor | None:
        return self.embeddings()[0]

    def stored(self) -> dict[str, Any]:
        return {}

    def contents(self) -> Iterator[Any]:
        yield type(self.model).__qualname__, settings_of(self.model.config.to_dict())
        yield from tensors_of([*self.model.named_parameters(), *self.model.named_buffers()])

    def release(self) -> None:
        """It is the caller's."""

    def hand_over(self, forward: Any) -> None:
        """Let the model's layers take their weights from a compiled forward, so that they are held once."""
        for module, native in zip(self.model.model.layers, forward.native, strict=True):
            for name, part in linears(module).items():
                start = 0
                for linear in part:
                    put(module, linear, Restored(native[name], start, forward.dtype, linear))
                    start += linear.out_features

    def _facts(self) -> tuple[int, torch.dtype, torch.device]:
        """How many logits the model gives, its dtype and its device; a live one is asked."""
        if self.live:
            from paceline.lm.agreement import stepped

            first = torch.zeros((1, 1), dtype=torch.long, device="cpu")
            return stepped(self.model, first).shape[-1], self.model.dtype, device_of(self.model)
        head = self.model.get_output_embeddings().weight
        return head.shape[0], head.dtype, head.device

    def _rope(self) -> Rope | None:
        """As the module has it, whatever it was scaled by; None where only a part of a head is turned."""
        rotary, parameters = self.model.model.rotary_emb, getattr(self.settings, "rope_parameters", None) or {}
        if float(parameters.get("partial_rotary_factor", 1.0)) != 1.0:
            return None
        return Rope(rotary.inv_freq, rotary.attention_scaling)

    def _retuned(self, decoder: Decoder) -> bool:
        """Whether somebody has set a scale or an epsilon by hand."""
        eps = {m.variance_epsilon for m in self.model.modules() if hasattr(m, "variance_epsilon")}
        scales = [module.self_attn.scaling for module in self.model.model.layers]
        return eps != {self.settings.rms_norm_eps} or scales != [layer.scale for layer in decoder.layers]


def tokenizer_at(place: str) -> Any:
    """Of a hub id or a folder; None where there is none. A folder that names the general class is read by it: to ask which class
    there is for a model takes seconds of imports.
    """
    try:
        if general(Path(place)):
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(place)
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError):
        return None


def general(place: Path) -> bool:
    """Whether a folder's tokenizer is whole in tokenizer.json and of no class of its own."""
    try:
        settings = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    named = settings.get("tokenizer_class") if isinstance(settings, dict) else None
    return named in ("PreTrainedTokenizerFast", "TokenizersBackend") and (place / "tokenizer.json").is_file()


def linears(module: Any) -> dict[str, list[nn.Linear]]:
    """A layer's linears by the names of compiled code, those that share their input together."""
    attention, mlp = module.self_attn, module.mlp
    apart = not hasattr(attention, "qkv_proj")
    return {
        "qkv": [attention.q_proj, attention.k_proj, attention.v_proj] if apart else [attention.qkv_proj],
        "o": [attention.o_proj],
        "gate_up": [mlp.gate_up_proj] if hasattr(mlp, "gate_up_proj") else [mlp.gate_proj, mlp.up_proj],
        "down": [mlp.down_proj],
    }


def put(parent: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` where `old` stands somewhere below `parent`."""
    for module in list(parent.modules()):
        for name, child in list(module.named_children()):
            if child is old:
                setattr(module, name, new)
