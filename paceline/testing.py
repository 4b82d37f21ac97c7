"""What tests, and writers of plug-ins, need: models small enough to enumerate, and chance that can be walked exhaustively.

`ToyLM` is a table as a model: every law it can produce is known, so a decoder's output law can be computed exactly and compared.
It keeps its tokens in a real `KV`, so committing a wrong path shows as a wrong law.
"""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

from paceline.lm import KV, LM, load
from paceline.lm.batch import Batch

__all__ = ["FAMILIES", "ToyLM", "outcomes", "tiny_lm", "tiny_model", "toy_tokenizer"]

T = TypeVar("T")


class ToyLM:
    """A causal model of order 2 over V tokens: logits after (a, b) are `table[a, b]` (fp64), after a first token `table[0, b]`.

    Offers what the engine and drafters use of `LM`, with the same meanings.
    """

    device, dtype, exact, why_not_exact, exact_trees = torch.device("cpu"), torch.float64, False, "a toy", False
    asked_forward, asked_packed, fingerprint, rope_switch, generation, text_config = "stock", False, 0, None, None, None
    backend: Any = SimpleNamespace(extend=None)
    score, prefill, extend, grammars = LM.score, LM.prefill, LM.extend, LM.grammars
    costs: Any = SimpleNamespace(
        seconds=lambda tokens: 1.0, token=lambda rows=1, length=0: 0.12, branching=0.05, renew=lambda slots: None,
        further=lambda nodes, rows=1, length=0: 0.12, extra=lambda nodes, rows=1, length=0: 0.12 * nodes,
        draft=lambda small, rows=1: 0.05, ready=lambda nodes: None, plain=SimpleNamespace(
            known=lambda rows: True, seconds=lambda rows, length: 1.0, enter=lambda rows, length, seconds: None),
    )  # fmt: skip

    def __init__(self, vocab: int = 4, seed: int = 0, sharpness: float = 1.5, tokenizer: Any = None) -> None:
        random = torch.Generator().manual_seed(seed)
        self.table = sharpness * torch.randn(vocab, vocab, vocab, generator=random, dtype=torch.float64)
        self.vocab, self.context, self.tokenizer = vocab, 256, tokenizer
        self.reach = self.context
        self.draft_models: dict[Any, Any] = {}

    def cache(self, exact: bool = False) -> KV:
        return KV(capacity=32, quantum=8, limit=self.context + 64)

    def logits(self, prefix: Sequence[int]) -> torch.Tensor:
        """Logits [V] of the next token after a non-empty prefix."""
        return self.table[prefix[-2] if len(prefix) > 1 else 0, prefix[-1]]

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KV) -> torch.Tensor:
        """As `LM.forward`; the one layer's keys, and what it asks, are the tokens themselves."""
        kv.check(batch.end)
        keys = batch.tokens[:, None, :, None].double()
        if batch.queries is not None:
            batch.queries.append(keys)
        out = []
        for row, (slot, tokens) in enumerate(zip(batch.slots, batch.tokens.tolist(), strict=True)):
            parents = range(-1, len(tokens) - 1) if batch.parents is None else batch.parents[row]
            kv.write(0, slot, keys[row], keys[row])
            past = kv.read(0, slot, kv.start(0, slot), slot.length)[0, 0, :, 0].long().tolist()
            paths: list[list[int]] = []
            for i, token in enumerate(tokens):
                parent = parents[i] if i < len(parents) else -1
                paths.append([*(paths[parent] if parent >= 0 else []), token])
            out += [self.logits(past + path) for path in paths]
        return batch.picked(torch.stack(out))


class Walk:
    """Chance under a script: every question takes the outcome the script names, and the weight of the walk is kept."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.weight = script, 1.0
        self.sizes: list[int] = []
        self._asked: dict[tuple[int, ...], Any] = {}

    def flip(self, prob: float, key: tuple[int, ...]) -> bool:
        return self._take([(True, prob), (False, 1.0 - prob)], (0, *key))

    def draw(self, law: torch.Tensor, key: tuple[int, ...]) -> int:
        law = law / law.sum()
        return self._take(list(enumerate(law.tolist())), (1, *key))

    def _take(self, options: list[tuple[Any, float]], key: tuple[int, ...]) -> Any:
        assert key not in self._asked, f"the same noise {key} was asked for twice"
        options = [o for o in options if o[1] > 0.0]
        turn = len(self.sizes)
        if turn == len(self.script):
            self.script.append(0)
        self.sizes.append(len(options))
        outcome, prob = options[self.script[turn]]
        self.weight *= prob
        self._asked[key] = outcome
        return outcome


def outcomes(run: Callable[[Walk], T]) -> Iterator[tuple[T, float]]:
    """Every result that `run(noise)` can have, with its probability; weights add up to 1."""
    script: list[int] = []
    while True:
        walk = Walk(script)
        yield run(walk), walk.weight
        script = script[: len(walk.sizes)]
        while script and script[-1] + 1 >= walk.sizes[len(script) - 1]:
            script.pop()
        if not script:
            return
        script[-1] += 1


def toy_tokenizer() -> Any:
    """A byte-level tokenizer of 256 bytes and three special tokens, made on the spot; any text round-trips."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|bos|>", "<|eos|>", "<|pad|>"]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*special, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1], pad_token=special[2])


FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "phi3", "olmo2", "gpt_neox", "gpt2", "gemma3_text")


def tiny_model(family: str = "llama", seed: int = 0, vocab: int = 259, **changes: Any) -> Any:
    """A random transformers model of a family, small enough for tests; attention windows where the family has them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": vocab, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 1024, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }
    if family == "gpt2":
        shape = {"vocab_size": vocab, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 1024}
        shape |= {"bos_token_id": 0, "eos_token_id": 1}
    if family == "gpt_neox":
        del shape["num_key_value_heads"]
    if family in ("qwen3", "gemma3_text"):
        shape["head_dim"] = 16
    if family in ("mistral", "gemma3_text"):
        shape["sliding_window"] = 24
    if family == "gemma3_text":
        shape["layer_types"] = ["sliding_attention", "full_attention", "sliding_attention"]
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**shape, **changes})).eval()
    with torch.no_grad():  # random weights of the usual size hardly look at their input; larger ones write varied text
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3.0)
    return model


def tiny_lm(family: str = "llama", seed: int = 0, forward: str = "auto", **changes: Any) -> LM:
    """A loaded tiny model with a byte-level tokenizer."""
    return load(tiny_model(family, seed, **changes), forward=forward, tokenizer=toy_tokenizer())
