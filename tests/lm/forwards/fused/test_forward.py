"""The fused forward: transformers' logits, and plain decoding's bits for chains and trees, whatever the threads or the batch."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

import paceline
from paceline.core.proposal import Proposal
from paceline.errors import ModelError, ShapeError
from paceline.lm import LM
from paceline.lm.batch import Batch
from paceline.lm.forwards import lean
from paceline.lm.forwards.fused import compiler
from paceline.lm.forwards.fused import forward as fused
from paceline.lm.kv import KV
from paceline.lm.sources.transformers import Module
from paceline.lm.weights import dense
from paceline.lm.weights import layout as tiles
from paceline.lm.weights.dense import Dense
from paceline.lm.weights.quantise import quantized
from paceline.lm.weights.stacked import Stacked
from paceline.lookup.stopping import Stop
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.lm import HeadLM
from paceline.models.draft_head.shape import shape_for
from paceline.testing import tiny_model

CODE, WHY = compiler.library()
needs_compiler = pytest.mark.skipif(CODE is None, reason=WHY)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TREE = [-1, -1, 0, 0, 1, 2, 4, -1, 6]


@pytest.fixture(params=["best", *list(compiler.PATHS)[-1:]])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The best kind of code for this processor, and the least of all, which runs on any."""
    if request.param != "best":
        monkeypatch.setenv("PACELINE_CPU", request.param)
    return request.param


def ids(n: int, seed: int = 0, vocab: int = 259) -> list[int]:
    return torch.randint(3, vocab, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def one_by_one(lm: LM, tokens: list[int], committed: int) -> torch.Tensor:
    """Logits after each token from `committed` on, every token fed by itself."""
    kv = lm.cache()
    slot = kv.take()
    lm.prefill(kv, slot, tokens[:committed])
    out = []
    for token in tokens[committed:]:
        out.append(lm.forward(Batch.of([slot], [[token]]), kv))
        kv.keep([slot], [[0]])
    return torch.cat(out)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral"])  # mistral's window of 24 cuts through the tree's past
def test_a_tree_has_the_bits_of_its_paths_one_by_one(processor: str, family: str, dtype: str, all_threads: None) -> None:
    lm = paceline.load(tiny_model(family).to(DTYPES[dtype]), forward="fused")
    assert lm.exact and lm.exact_trees
    kv = lm.cache()
    texts = [ids(70, 1), ids(5, 2)]
    slots = [kv.take(), kv.take()]
    for slot, text in zip(slots, texts, strict=True):
        lm.prefill(kv, slot, text[:-1])
    tree = Proposal(ids(len(TREE), 3), TREE, [False] * len(TREE), ["test"] * len(TREE))
    for text, ours in zip(texts, lm.score(kv, slots, [t[-1] for t in texts], [tree, tree]), strict=True):
        for node in range(-1, len(tree)):
            path = [tree.tokens[i] for i in tree.path(node)]
            assert torch.equal(ours[node + 1], one_by_one(lm, [*text, *path], len(text) - 1)[-1])


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_neighbours_change_no_bit(processor: str, dtype: str) -> None:
    lm = paceline.load(tiny_model().to(DTYPES[dtype]), forward="fused")
    text = ids(300)
    alone = one_by_one(lm, text, 290)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            kv = lm.cache()
            slots = [kv.take() for _ in range(5)]
            for i, slot in enumerate(slots):
                lm.prefill(kv, slot, ids(17 * i + 3, i) if i != 2 else text[:290])
            rows = [text[290:] if i == 2 else ids(10, 9 - i) for i in range(5)]
            assert torch.equal(lm.forward(Batch.of(slots, rows), kv)[20:30], alone)
    finally:
        torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("changes", [
    {"hidden_size": 36, "intermediate_size": 50, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 10},
    {"hidden_size": 33, "intermediate_size": 45, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 6},
    {"head_dim": 80, "attention_bias": True},
    {"head_dim": 128, "tie_word_embeddings": True},
    {"hidden_size": 70, "num_attention_heads": 70, "num_key_value_heads": 1, "head_dim": 4},
], ids=["odd widths", "odd inputs", "wide heads", "tied", "many heads of one"])  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes_that_fill_no_vector(processor: str, changes: dict[str, Any], dtype: str) -> None:
    model = tiny_model(**changes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    model = model.to(DTYPES[dtype])
    lm = paceline.load(model, forward="fused")
    text = ids(40)
    with torch.inference_mode():
        theirs = model(torch.tensor([text]), use_cache=False).logits[0]
    kv = lm.cache()
    ours = lm.forward(Batch.of([kv.take()], [text]), kv)
    close = 1e-4 if dtype == "fp32" else 0.1 * float(theirs.std())
    torch.testing.assert_close(ours, theirs, atol=close, rtol=1e-4)


@needs_compiler
def test_weights_kept_in_bf16_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model().bfloat16().float()
    small = paceline.load(model, forward="fused")
    monkeypatch.setattr(dense, "compact", lambda weight: weight.detach())
    large = paceline.load(model, forward="fused")
    assert small.weight_bytes < 0.6 * large.weight_bytes
    assert torch.equal(one_by_one(small, ids(30), 10), one_by_one(large, ids(30), 10))


def test_compact_keeps_what_bf16_cannot_hold() -> None:
    weight = torch.tensor([[1.0, 1.0 + 2**-12]])
    assert tiles.compact(weight).dtype is torch.float32
    assert tiles.compact(weight.bfloat16().float()).dtype is torch.bfloat16


def apart(chains: list[list[list[tuple[int, float]]]]) -> tuple[list[list[int]], list[list[float]]]:
    """Of the likeliest tokens at each step: ids and probabilities."""
    return [[step[0][0] for step in chain] for chain in chains], [[step[0][1] for step in chain] for chain in chains]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extend_tells_the_likeliest_tokens_at_each_place(dtype: torch.dtype) -> None:
    lm = paceline.load(tiny_model().to(dtype), forward="fused")
    kv, texts = lm.cache(), [ids(9, 1), ids(4, 2)]
    slots = [kv.take(), kv.take()]
    chains = lm.extend(kv, slots, texts, 3, top=5)
    for text, slot, chain in zip(texts, slots, chains, strict=True):
        kv.crop(slot, 0)
        for step in chain:
            law = lm.forward(Batch.of([slot], [text]), kv)[-1].float().softmax(-1)
            assert sorted(law[[t for t, _ in step]].tolist(), reverse=True) == law.topk(5).values.tolist()
            torch.testing.assert_close(law[[t for t, _ in step]], torch.tensor([p for _, p in step]), rtol=1e-4, atol=1e-6)
            text = [*text, step[0][0]]


@pytest.mark.parametrize("forward", ["auto", "lean", "stock"])
@pytest.mark.parametrize("room", [1024, 45])  # 45: the last row runs into the context's end
def test_extend_is_greedy_decoding_of_ragged_rows(forward: str, room: int) -> None:
    lm = paceline.load(tiny_model(max_position_embeddings=room), forward=forward)
    texts, given, steps = [ids(30, 1), ids(4, 2), ids(33, 3)], [1, 3, 2], 6
    kv = lm.cache()
    slots = [kv.take() for _ in texts]
    for slot, text, n in zip(slots, texts, given, strict=True):
        lm.prefill(kv, slot, text[:-n])
    chains = lm.extend(kv, slots, [text[-n:] for text, n in zip(texts, given, strict=True)], steps)
    drafted, shares = apart(chains)
    for text, row, slot in zip(texts, drafted, slots, strict=True):
        plain = paceline.generate(lm, [text], max_new_tokens=steps, eos=())[0].tokens
        assert row == plain and slot.length == len(text) + steps - 1
    for slot, text, row in zip(slots, texts, drafted, strict=True):  # and the keys are those of the text
        again = lm.forward(Batch.of([slot], [row[-1:]]), kv)
        torch.testing.assert_close(again, one_by_one(lm, [*text, *row], len(text) + steps - 1), atol=1e-4, rtol=1e-4)
    assert all(len(row) == steps and all(0 < share <= 1 for share in row) for row in shares)


@pytest.mark.parametrize("calibration", [None, [[0.0] * 4 + [0.3] * 6, [0.5] * 10]])
def test_extend_ends_where_a_path_is_no_longer_likely(calibration: list[list[float]] | None) -> None:
    made, kept = [], []
    for forward in ("fused", "lean"):
        lm = paceline.load(tiny_model(), forward=forward)
        kv = lm.cache()
        slots, texts = [kv.take(), kv.take()], [ids(9, 1), ids(4, 2)]
        everything, shares = apart(lm.extend(kv, slots, texts, 6))
        for slot in slots:
            kv.crop(slot, 0)
        said = calibration or [[], []]
        chances = [[share if calibration is None else row[int(share * 10)] for share in chain]
                   for chain, row in zip(shares, said, strict=True)]
        price = math.prod(chances[1][:3]) * 0.9
        rates = [[(1 + sum(math.prod(chain[:k]) for k in range(1, n + 1))) / (1 + n * price) for n in range(7)]
                 for chain in chances]
        wanted = [max(range(1, 7), key=row.__getitem__) for row in rates]  # the first token is drafted in any case
        short, sure = apart(lm.extend(kv, slots, texts, 6, Stop(0.0, price, calibration)))
        assert short == [row[:n] for row, n in zip(everything, wanted, strict=True)] and max(wanted) > 1
        assert [len(row) for row in sure] == wanted
        assert [slot.length for slot in slots] == [len(text) + n - 1 for text, n in zip(texts, wanted, strict=True)]
        made.append(short)
        kept.append(sure)
        for slot in slots:
            kv.crop(slot, 0)
        assert apart(lm.extend(kv, slots, texts, 6, Stop(2.0))) == ([[], []], [[], []])
        assert [slot.length for slot in slots] == [9, 4]
    assert made[0] == made[1] and all(abs(a - b) < 1e-4 for x, y in zip(*kept, strict=True) for a, b in zip(x, y, strict=True))


def test_without_a_compiler_the_lean_forward_serves_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "library", lambda: (None, "no C++ compiler was found"))
    lm = LM(tiny_model())
    assert lm.forward_name == "lean" and any("no C++ compiler" in note for note in lm.notes)
    with pytest.raises(ModelError, match="no C\\+\\+ compiler"):
        LM(tiny_model(), forward="fused")


@needs_compiler
def test_ids_outside_the_vocabulary_are_refused_before_the_code_reads_them() -> None:
    lm = paceline.load(tiny_model(vocab=80), forward="fused")
    kv = lm.cache()
    slot = kv.take()
    for ids_ in ([[5, 80]], [[-1]]):
        with pytest.raises(ShapeError, match="from 0 to 79"):
            lm.forward(Batch.of([slot], ids_), kv)


@needs_compiler
def test_what_compiled_code_would_read_amiss_is_refused_at_its_door() -> None:
    lm = paceline.load(tiny_model(), forward="fused")
    kv = lm.cache()
    slot = kv.take()
    tokens = torch.tensor([ids(4)])
    for wrong in (tokens.int(), tokens.to("meta")):
        with pytest.raises(ShapeError, match="contiguous tensor of torch.int64 on the CPU"):
            lm.forward(Batch([slot], wrong), kv)
    for parents in ([[-1, 1, 0, 2]], [[-1, 5, 0, 0]], [[-2, 0, 0, 0]]):
        with pytest.raises(ShapeError, match="parent among the tokens before it"):
            lm.forward(Batch([slot], tokens, parents), kv)
    with pytest.raises(ShapeError, match="parents for 1 rows of at most 4"):
        lm.forward(Batch([slot], tokens, [[-1, 0, 1, 2, 3]]), kv)
    with pytest.raises(ShapeError, match="1 slots"):
        lm.forward(Batch([slot, slot], tokens), kv)
    with pytest.raises(ShapeError, match="at most 4 places of logits from 0 to 3"):
        lm.backend.extend(Batch([slot], tokens, logits_at=[4]), kv, 2, Stop(), 1)
    with pytest.raises(ShapeError, match="end of each of 1 rows, found 4"):
        lm.backend.extend(Batch([slot], tokens), kv, 2, Stop(), 1)
    for like in (torch.zeros((1, 1, 16)), torch.zeros((2, 1, 16), dtype=torch.float64)):
        slot = kv.take()
        kv.write(0, slot, like, like)
        with pytest.raises(ShapeError, match="Expected"):
            lm.forward(Batch([slot], tokens), kv)


@needs_compiler
def test_what_it_does_not_know_is_left_to_the_others() -> None:
    for model in (tiny_model("llama", hidden_act="gelu"), tiny_model("llama", mlp_bias=True), tiny_model("gpt2")):
        assert refused(model)
    assert "fp32 and bf16" in refused(tiny_model().half())
    mixed = tiny_model()
    mixed.lm_head.bfloat16()
    assert "several dtypes" in refused(mixed)


def refused(model: Any) -> str:
    decoder, why = Module(model).decoder(1024)
    return why if decoder is None else fused.fits(decoder)


@needs_compiler
def test_logits_are_given_for_the_places_asked_for() -> None:
    lm = paceline.load(tiny_model(), forward="fused")
    kv = lm.cache()
    slot, tokens = kv.take(), torch.tensor([ids(6)])
    every = lm.forward(Batch([slot], tokens), kv)
    for at in (range(1, 5, 2), [3, 0], (5,), ()):
        assert torch.equal(lm.forward(Batch([slot], tokens, logits_at=at), kv), every[list(at)])
    for wrong in ([6], [-1], [0] * 7):
        with pytest.raises(ShapeError, match="at most 6 places of logits from 0 to 5"):
            lm.forward(Batch([slot], tokens, logits_at=wrong), kv)


@needs_compiler
def test_a_cache_that_has_grown_is_found_again() -> None:
    """Addresses are kept as long as a slot's layers stay."""
    lm = paceline.load(tiny_model(), forward="fused")
    head = HeadLM(Head(shape_for(lm, width=48, heads=3, kv_heads=1, ffn=80)), lm)
    written = []
    for capacity in (64, 512):
        kv, own = KV(capacity=capacity), head.cache()
        slot, reader = kv.take(), own.take()
        reader.reads = slot
        for start in range(0, 160, 20):
            rows = [ids(160)[start : start + 20]]
            written.append((lm.forward(Batch.of([slot], rows), kv), head.forward(Batch.of([reader], rows), own)))
            kv.keep([slot], [range(20)])
            own.keep([reader], [range(20)])
    for small, large in zip(written[:8], written[8:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(small, large, strict=True))


@needs_compiler
def test_positions_beyond_the_rotations_are_refused() -> None:
    lm = paceline.load(tiny_model(max_position_embeddings=20), forward="fused")
    kv = lm.cache()
    slot = kv.take()
    lm.prefill(kv, slot, ids(19))
    with pytest.raises(ShapeError, match="below 20, found 21"):
        lm.forward(Batch.of([slot], [[5, 6, 7]], [[-1, 0, 1]]), kv)


@needs_compiler
def test_the_code_and_its_description_have_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(fused.CLayer):
        _fields_ = [("more", fused.ctypes.c_int64)]

    monkeypatch.setattr(fused, "CLayer", Other)
    assert "another version" in refused(tiny_model())


@needs_compiler
def test_one_that_disagrees_is_dropped_and_said(unchecked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Skewed(fused.Fused):
        def __call__(self, batch: Batch, kv: KV) -> torch.Tensor:
            return super().__call__(batch, kv) * 1.1

    monkeypatch.setattr(fused, "Fused", Skewed)
    lm = LM(tiny_model())
    assert lm.forward_name == "lean" and any("logits differ" in note for note in lm.notes)


@needs_compiler
@pytest.mark.parametrize("family", ["llama", "qwen2", "phi3"])
def test_replaced_weights_are_held_once_and_are_still_there(family: str, tmp_path: Any) -> None:
    model = tiny_model(family, vocab=80).bfloat16().float()
    before = copy.deepcopy(model)
    text = torch.tensor([ids(20, vocab=80)])
    lm = paceline.load(model, replace=True)
    apart = paceline.load(before)
    ours, theirs = (paceline.generate(one, text.tolist(), max_new_tokens=9)[0].tokens for one in (lm, apart))
    assert ours == theirs
    linears = sum(m.weight.numel() for name, m in before.named_modules() if isinstance(m, torch.nn.Linear) and "layers" in name)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in before.parameters()) - linears
    with torch.inference_mode():
        assert torch.equal(model(text).logits, before(text).logits)
    model.save_pretrained(tmp_path)
    saved = type(model).from_pretrained(tmp_path).state_dict()
    assert saved.keys() == before.state_dict().keys()
    assert all(torch.equal(saved[name], weight) for name, weight in before.state_dict().items())
    assert lm.describe()["parameters"] == apart.describe()["parameters"]


def test_weights_are_replaced_only_where_there_is_another_copy() -> None:
    with pytest.raises(ModelError, match="replace=True needs the fused forward"):
        paceline.load(tiny_model(), forward="lean", replace=True)


def test_plain_and_quantised_weights_may_share_an_input() -> None:
    """Whichever comes first: the rows are rounded for those that want them so."""
    lm = paceline.load(tiny_model("llama"), forward="lean", packed=False)
    decoder, _ = lm.source.decoder(lm.reach)
    assert decoder is not None
    q, rest = (Dense(part) for part in decoder.layers[0].qkv.weight.split([32, decoder.layers[0].qkv.shape[0] - 32]))
    for parts in ((q, quantized(rest, "i8", "int8")), (quantized(q, "i8", "int8"), rest)):
        mixed = replace(decoder, layers=[replace(layer, qkv=Stacked(parts)) for layer in decoder.layers])
        made = []
        for build in (lean.build, fused.build):
            lm.backend, kv = build(mixed), lm.cache()
            made.append(lm.forward(Batch([kv.take()], torch.arange(3, 12)[None]), kv))
        torch.testing.assert_close(*made, atol=0.05, rtol=0.05)


@needs_compiler
@pytest.mark.parametrize("first", ["half", "whole"])
def test_a_model_of_fewer_layers_may_run_on_the_same_keys(first: str) -> None:
    """As a draft from a model's lower layers does: each still finds the keys of all of its own layers."""
    model = tiny_model("llama")
    lower = copy.deepcopy(model)
    lower.model.layers, lower.config.num_hidden_layers = lower.model.layers[:2], 2
    whole, half = (LM(each, forward="fused") for each in (model, lower))
    alone = [one_by_one(lm, ids(9), 0) for lm in (whole, half)]
    kv = whole.cache()
    slot = kv.take()
    order = [(half, alone[1]), (whole, alone[0])]
    for i, token in enumerate(ids(9)):
        for lm, wanted in order if first == "half" else order[::-1]:
            assert torch.equal(lm.forward(Batch.of([slot], [[token]]), kv), wanted[i : i + 1])
        kv.keep([slot], [[0]])
