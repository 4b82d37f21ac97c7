"""Draft heads: small decoders that read what the target has already computed.

A head is a stack of Llama-type blocks with one more sub-layer, between self-attention and feed-forward: cross-attention over the
keys and values that the target has cached in one of its own layers. It has queries and an output projection only; its queries
are rotated to their absolute positions as the target's are, and normed where the target norms its own. Source: Du et al. 2024,
GliDe with a CaPE (arXiv 2402.02082), section 3. Options where paper and code differ are fields of `HeadShape`, the paper's way as
the default. Departures: query norms of the target are followed; rotation comes from the target's configuration instead of base
10,000. LongSpec's drafter (Yang et al. 2025, arXiv 2502.17421, section 3) is the same block with a sliding window in its
self-attention and the target's own embedding and output head, which such a head borrows and never keeps.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import embedding, linear

from paceline.errors import DataError
from paceline.models.draft_head.block import Attend, Block, plain_attention, rotary, turn
from paceline.models.draft_head.shape import HeadShape, described, shape_of

__all__ = ["Head"]

Memory = Sequence[tuple[torch.Tensor, torch.Tensor]]


class Head(nn.Module):
    """A draft head. `head(tokens, positions, mask, memory, seen) -> hidden [B, T, W]`; `logits` makes logits of it. One that
    shares its target's embedding and output head is given them by `borrow`.
    """

    def __init__(self, shape: HeadShape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(Block(shape, bool(shape.reads)) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, shape.eps) if shape.final_norm else None
        self.borrowed: tuple[torch.Tensor, ...] = ()  # in a tuple, so that they are no parameters of this module
        if not shape.shared:
            self.embed_tokens = nn.Embedding(shape.vocab, shape.width)
            self.lm_head = nn.Linear(shape.width, shape.vocab, bias=False)
        if shape.tied:
            self.lm_head.weight = self.embed_tokens.weight
        # Plain data, so that .to(bfloat16) leaves frequencies alone: rounded, they would turn far positions by radians.
        self.rotaries = rotary(shape, shape.head_dim), rotary(shape, shape.target_head_dim)
        random = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02, generator=random)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            if name.endswith("cross_attn.o_proj.weight"):
                nn.init.zeros_(parameter)  # a head begins as the small model that it is without reading

    def borrow(self, embedding: torch.Tensor | None, output: torch.Tensor | None) -> None:
        """Take the target's embedding and output head, each [V, W], where the shape says that they are shared."""
        if self.shape.shared and embedding is not None and output is not None:
            self.borrowed = embedding, output

    @property
    def blocks(self) -> list[Block]:
        """Its layers, in order."""
        return [block for block in self.layers if isinstance(block, Block)]

    @property
    def embedding(self) -> torch.Tensor:
        """[V, W]."""
        return self.borrowed[0] if self.shape.shared else self.embed_tokens.weight

    @property
    def output(self) -> torch.Tensor:
        """Weight of the output head [V, W]."""
        return self.borrowed[1] if self.shape.shared else self.lm_head.weight

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return linear(hidden, self.output)

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, memory: Memory, seen: torch.Tensor,
                attend: Attend | None = None) -> torch.Tensor:
        """tokens, positions [B, T]; mask: additive, self-attention's [B, 1, T, T]; memory: per block the target's keys and
        values, each [B, H_kv, S, D], as its cache holds them; seen: additive [B, 1, T, S], which of them each token may read.
        """
        x = embedding(tokens, self.embedding)
        turns = [turn(rope, positions, x) for rope in self.rotaries]
        for i, block in enumerate(self.layers):
            x = block(x, turns, mask, memory[i] if self.shape.reads else None, seen, attend or plain_attention)
        return x if self.norm is None else self.norm(x)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write config.json (speculators' layout) and model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(described(self.shape), indent=2) + "\n", encoding="utf-8")
        tensors = {k: v.contiguous() for k, v in self.state_dict().items() if not (self.shape.tied and k == "lm_head.weight")}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: Path | str, dtype: torch.dtype | None = None) -> "Head":
        """Read what `save_pretrained` wrote. Raises DataError for missing files, unknown settings or weights."""
        folder = Path(folder)
        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "model.safetensors")
        except (OSError, ValueError) as error:
            raise DataError(f"Expected a draft head (config.json, model.safetensors) in {folder}; {error}.") from error
        with torch.device("cpu"):  # where the tensors are, whatever torch's default is
            head = cls(shape_of(settings, folder))
        if head.shape.tied:
            tensors["lm_head.weight"] = tensors["embed_tokens.weight"]
        try:
            head.load_state_dict(tensors)
        except RuntimeError as error:
            raise DataError(f"The weights in {folder} do not fit its config.json: {error}.") from error
        return head.to(dtype or next(iter(tensors.values())).dtype).eval()
