"""Draft heads: what a head sees of its target in training and at work is the same, on every forward; and its file is strict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paceline.errors import DataError, ModelError
from paceline.lm import LM
from paceline.lm.batch import Batch
from paceline.lm.weights.layout import quantize_int8
from paceline.models.draft_head.block import turn
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.lm import HeadLM
from paceline.models.draft_head.shape import longspec_shape, shape_for, target_of
from paceline.testing import tiny_lm, tiny_model

SIZE: dict[str, Any] = {"width": 48, "heads": 3, "kv_heads": 1, "ffn": 80}


def ids(n: int, seed: int = 0) -> list[int]:
    return torch.randint(3, 259, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def varied(head: Head) -> Head:
    """Weights large enough to matter, norms that are not one."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=random) / max(1, parameter.shape[-1]) ** 0.5)
    return head.eval()


def taught(head: Head, lm: LM, text: list[int], seen_keys: list[int]) -> torch.Tensor:
    """Logits [T, V] as in training: token i reads the target's keys 0 … seen_keys[i] - 1."""
    t = len(text)
    kv = lm.cache()
    slot = kv.take()
    lm.prefill(kv, slot, text)
    layers = lm.text_config.num_hidden_layers
    memory = [tuple(kv.read(layers - n, slot, 0, t)[:, None]) for n in head.shape.reads]
    causal = torch.full((t, t), -torch.inf).triu(1)[None, None]
    if head.shape.window:
        causal += torch.full((t, t), -torch.inf).tril(-head.shape.window)
    seen = torch.zeros(t, t).masked_fill_(torch.arange(t) >= torch.tensor(seen_keys)[:, None], -torch.inf)[None, None]
    with torch.inference_mode():
        return head.logits(head(torch.tensor([text]), torch.arange(t)[None], causal, memory, seen))[0]


@pytest.mark.parametrize("forward", ["auto", "lean", "stock"])
@pytest.mark.parametrize(("family", "options"), [
    ("llama", {}), ("llama", {"layers": 2}), ("llama", {"cross_norm": True, "tied": True}), ("qwen3", {"reads": (2,)}),
    ("qwen2", {"reads": (), "layers": 2}), ("llama", {"method": "longspec"}),
    ("qwen2", {"method": "longspec", "final_norm": True}),
], ids=["paper", "two layers", "normed, tied", "query norms", "no reading", "longspec", "longspec, normed"])  # fmt: skip
def test_at_work_it_computes_what_it_was_taught(forward: str, family: str, options: dict[str, Any]) -> None:
    """Property 4 of GliDe's notes: drafting at gap k equals teacher forcing with that many of the target's keys hidden."""
    lm = tiny_lm(family, forward=forward)
    if options.get("method") == "longspec":
        shape = longspec_shape(lm, window=7, **options)
    else:
        shape = shape_for(lm, **SIZE, **{**options, "reads": options.get("reads") or None})
    head = varied(Head(replace(shape, reads=options.get("reads", shape.reads))))
    work = HeadLM(head, lm)
    texts, committed = [ids(40, 1), ids(12, 2)], [35, 8]
    target, own = lm.cache(), work.cache()
    slots = []
    for text, n in zip(texts, committed, strict=True):
        read = target.take()
        lm.prefill(target, read, text[:n])
        slots.append(own.take())
        slots[-1].reads = read
        work.prefill(own, slots[-1], text[: n - 3])
    rows = [text[n - 3 :] for text, n in zip(texts, committed, strict=True)]  # 3 to catch up with, the rest drafted
    ours = work.forward(Batch.of(slots, [row[:7] for row in rows]), own).unflatten(0, (2, 7))
    for b, (text, n) in enumerate(zip(texts, committed, strict=True)):
        wanted = taught(head, lm, text[: n + 4], [min(n, i) for i in range(n + 4)])[n - 3 :]
        torch.testing.assert_close(ours[b], wanted, atol=1e-4, rtol=1e-4)


def test_a_tree_sees_the_same_keys_on_all_its_paths() -> None:
    lm = tiny_lm()
    head = varied(Head(shape_for(lm, **SIZE)))
    work, text = HeadLM(head, lm), ids(20)
    target, own = lm.cache(), work.cache()
    read, slot = target.take(), own.take()
    slot.reads = read
    lm.prefill(target, read, text[:-1])
    work.prefill(own, slot, text)
    tree = work.forward(Batch.of([slot], [[5, 6, 7, 8]], [[-1, -1, 0, 1]]), own)
    for i, path in enumerate(([5], [6], [5, 7], [6, 8])):
        line = [*text, *path]
        wanted = taught(head, lm, line, [min(19, p) for p in range(len(line))])[-1]
        torch.testing.assert_close(tree[i], wanted, atol=1e-4, rtol=1e-4)


def test_zero_output_of_cross_attention_is_a_plain_small_model() -> None:
    """Property 6: the ablation's two arms differ in that alone."""
    lm = tiny_lm()
    head = varied(Head(shape_for(lm, **SIZE)))
    plain = Head(replace(head.shape, reads=())).eval()
    plain.load_state_dict({k: v for k, v in head.state_dict().items() if "cross_attn" not in k})
    with torch.no_grad():
        for block in head.layers:
            block.cross_attn.o_proj.weight.zero_()
    text = ids(20)
    torch.testing.assert_close(taught(head, lm, text, list(range(20))), taught(plain, lm, text, list(range(20))))


def test_half_precision_leaves_the_rotation_alone(tmp_path: Path) -> None:
    head = Head(shape_for(tiny_lm(), **SIZE))
    at = torch.tensor([[900]])
    like = torch.ones(1)
    before = [turn(rope, at, like)[0] for rope in head.rotaries]
    head.to(torch.bfloat16).save_pretrained(tmp_path)
    for other in (head, Head.from_pretrained(tmp_path), Head.from_pretrained(tmp_path, torch.float32)):
        assert all(torch.equal(a, turn(rope, at, like)[0]) for a, rope in zip(before, other.rotaries, strict=True))


def test_pairing_and_dimensions_come_from_the_target() -> None:
    assert shape_for(tiny_lm(num_hidden_layers=6), **SIZE, layers=2).reads == (2, 1)
    assert shape_for(tiny_lm("qwen3"), **SIZE).q_norm
    for family in ("gpt2", "gpt_neox", "gemma3_text"):  # no rotation, part of it, two of them
        with pytest.raises(ModelError):
            shape_for(tiny_lm(family), **SIZE)
    with pytest.raises(ModelError, match="counted from the end"):
        shape_for(tiny_lm(), **SIZE, reads=(9,))


def test_a_grown_target_keeps_its_fingerprint() -> None:
    from paceline.lm.grow import grow

    model = tiny_model()
    assert target_of(grow(model, 1e6))[2] == target_of(model)[2] != target_of(tiny_model(seed=1))[2]


@pytest.mark.parametrize("tied", [False, True])
def test_a_head_is_what_was_saved(tied: bool, tmp_path: Path) -> None:
    head = varied(Head(shape_for(tiny_lm(), **SIZE, tied=tied)))
    head.save_pretrained(tmp_path)
    again = Head.from_pretrained(tmp_path)
    pairs = zip(again.parameters(), head.parameters(), strict=True)
    assert again.shape == head.shape and all(torch.equal(a, b) for a, b in pairs)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["speculators_model_type"] == "glide" and config["transformer_layer_config"]["hidden_size"] == 48


def test_unknown_settings_and_weights_are_refused(tmp_path: Path) -> None:
    Head(shape_for(tiny_lm(), **SIZE)).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for change, said in (({"colour": 1}, "colour"), ({"ffn": 81}, "do not fit")):
        path.write_text(json.dumps({**config, "paceline": {**config["paceline"], **change}}))
        with pytest.raises(DataError, match=said):
            Head.from_pretrained(tmp_path)
    with pytest.raises(DataError, match="Expected a draft head"):
        Head.from_pretrained(tmp_path / "nowhere")


def test_a_seed_makes_the_whole_head() -> None:
    for shape in (shape_for(tiny_lm(), **SIZE), longspec_shape(tiny_lm())):
        heads = [Head(shape, seed=3) for _ in range(2)]
        assert all(torch.equal(a, b) for a, b in zip(*(head.parameters() for head in heads), strict=True))


@pytest.mark.parametrize("shape", [shape_for(tiny_lm(), **SIZE), longspec_shape(tiny_lm(), window=7)])
def test_rough_weights_draft_almost_the_same_from_a_quarter_of_the_bytes(shape: Any) -> None:
    lm, text = tiny_lm(forward="fused"), ids(40)
    head = varied(Head(shape))
    logits, sizes = [], []
    for int8 in (False, True):
        work = HeadLM(head, lm, int8)
        target, own = lm.cache(), work.cache()
        read, slot = target.take(), own.take()
        slot.reads = read
        lm.prefill(target, read, text[:-1])
        assert work.backend.name == "fused"
        logits.append(work.forward(Batch.of([slot], [text]), own))
        sizes.append(work.backend.weight_bytes)
    assert sizes[0] / 4 <= sizes[1] < sizes[0] / 3.5  # fp32 here; tiles are filled up
    assert 0 < float((logits[1] - logits[0]).std()) < 0.05 * float(logits[0].std())


def test_bytes_are_the_nearest_multiples_of_a_rows_scale() -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    weight[3] = 0.0
    whole, scale = quantize_int8(weight)
    assert whole.dtype is torch.int8 and int(whole.abs().max()) == 127 and not whole[3].any()
    assert ((whole * scale[:, None] - weight).abs() <= scale[:, None] / 2 + 1e-6).all()
