"""The loop learns, and a killed run goes on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from paceline.data.corpus import Stream
from paceline.errors import DataError
from paceline.objectives.distil import distil
from paceline.objectives.xent import xent
from paceline.train import checkpoint
from paceline.train.evaluate import held_out_loss
from paceline.train.forward import add_gradient, language
from paceline.train.loop import Hook, Loop, Progress, train
from paceline.train.packing import Batch, Batches, Source, document_mask


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


def model(seed: int = 0, width: int = 32) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=40,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(shape)


def stream() -> Stream:
    """Counting texts: 7, 8, 9, ...; every next token follows from the last."""
    rng = np.random.default_rng(0)
    texts = [(np.arange(n) + s) % 40 for n, s in zip(rng.integers(5, 60, 40), rng.integers(0, 40, 40), strict=True)]
    starts = np.concatenate([[0], np.cumsum([len(t) for t in texts])])
    tokens = np.concatenate(texts).astype(np.uint16)
    return Stream(tokens, starts, np.ones(len(tokens), dtype=bool), 2 * len(tokens))


def batches(count: int = 60) -> Batches:
    return Batches({"text": Source(stream(), 1.0)}, count, rows=2, length=32, seed=0)


def weights(network: LlamaForCausalLM) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, broken = model(), model()
    train(whole, batches().batch, language(whole, xent), Loop(tmp_path / "whole", 12, save_every_s=1e9))

    def dying(step: int) -> Batch:
        if step == 7:
            raise Killed
        return batches().batch(step)

    loop = Loop(tmp_path / "broken", 12, save_every_s=0.0)
    with pytest.raises(Killed):
        train(broken, dying, language(broken, xent), loop)
    # A new process: other weights in memory, only the folder is left.
    again = model(seed=5)
    train(again, batches().batch, language(again, xent), loop)
    assert all(torch.equal(x, y) for x, y in zip(weights(whole), weights(again), strict=True))


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    network = model()
    loop = Loop(tmp_path, 3)
    train(network, batches().batch, language(network, xent), loop)
    before = weights(network)
    train(network, batches().batch, language(network, xent), loop)
    assert all(torch.equal(x, y) for x, y in zip(before, weights(network), strict=True))


def test_the_loss_falls_and_is_reported(tmp_path: Path) -> None:
    network, seen = model(), list[Progress]()
    before = held_out_loss(network, stream(), context=32).loss
    train(network, batches().batch, language(network, xent), Loop(tmp_path, 40, report_every=20), report=seen.append)
    assert [p.step for p in seen] == [20, 40] and seen[1].losses["xent"] < seen[0].losses["xent"]
    assert held_out_loss(network, stream(), context=32).loss < before - 1


def test_a_student_learns_its_teacher(tmp_path: Path) -> None:
    teacher, student, seen = model(seed=3), model(seed=4), list[Progress]()
    train(teacher, batches().batch, language(teacher, xent), Loop(tmp_path / "teacher", 30))
    before = weights(teacher)
    loop = Loop(tmp_path / "student", 30, report_every=10)
    train(student, batches().batch, language(student, distil, teacher), loop, report=seen.append)
    assert seen[-1].losses["kl"] < 0.5 * seen[0].losses["kl"]
    assert all(torch.equal(x, y) for x, y in zip(before, weights(teacher), strict=True))


def test_hooks_run_and_checkpoints_stay_few(tmp_path: Path) -> None:
    calls = list[int]()
    hook = Hook(0.0, lambda: calls.append(1))
    train(network := model(), batches().batch, language(network, xent), Loop(tmp_path, 5, save_every_s=0.0), hooks=(hook,))
    assert len(calls) == 5 and len(list(tmp_path.glob("step-*.pt"))) == 2


def test_another_model_is_refused(tmp_path: Path) -> None:
    train(network := model(), batches().batch, language(network, xent), Loop(tmp_path, 2))
    with pytest.raises(DataError, match="another model"):
        train(network := model(width=16), batches().batch, language(network, xent), Loop(tmp_path, 4))


def test_the_gradient_is_that_of_the_mean_loss() -> None:
    network, batch = model(), batches().batch(0)
    parts, scored = add_gradient(network, batch, xent, autocast=False)
    ours = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    mask = document_mask(batch.documents, torch.float32)
    out = network(input_ids=batch.tokens, attention_mask=mask, position_ids=batch.positions).logits
    loss = torch.nn.functional.cross_entropy(out.flatten(0, 1), batch.labels.flatten(), ignore_index=-100)
    loss.backward()
    assert parts["xent"] / scored == pytest.approx(loss.item(), rel=1e-5)
    for mine, p in zip(ours, network.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad, atol=1e-6, rtol=1e-4)


def test_held_out_loss_equals_one_document_at_a_time() -> None:
    network, text = model().eval(), stream()
    result = held_out_loss(network, text, context=64, rows=3, autocast=False)
    nats = 0.0
    for start, stop in zip(text.starts[:-1], text.starts[1:], strict=True):
        ids = torch.from_numpy(text.tokens[start:stop].astype(np.int64))[None]
        nats += network(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    assert result.tokens == len(text.tokens) - (len(text.starts) - 1)
    assert result.loss * result.tokens == pytest.approx(nats, rel=1e-4)
    assert result.bits_per_byte == pytest.approx(nats / np.log(2) / text.bytes, rel=1e-4)


def test_a_half_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 3, {"x": torch.ones(2)})
    (tmp_path / "writing.tmp").write_bytes(b"half")
    state = checkpoint.latest(tmp_path)
    assert state is not None and state["step"] == 3 and torch.equal(state["x"], torch.ones(2))
    assert checkpoint.latest(tmp_path / "nothing") is None
