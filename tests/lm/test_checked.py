"""A model that is loaded again is not checked again, unless anything that a check depends on has changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import paceline
from paceline import LM
from paceline.lm import kept
from paceline.testing import tiny_model


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What checks do: forwards are made, and whether packing pays is timed."""
    done, forward = list[str](), LM.forward

    def counted(*arguments: Any) -> torch.Tensor:
        done.append("forward")
        return forward(*arguments)

    monkeypatch.setattr(LM, "forward", counted)
    monkeypatch.setattr("paceline.lm.choice.pays", lambda weights: done.append("timing") or True)
    return done


def told(lm: LM) -> tuple[Any, ...]:
    return lm.forward_name, lm.backend.packed, lm.exact, lm.why_not_exact, lm.exact_trees, lm.tails, lm.notes


@pytest.mark.parametrize("forward", ["auto", "lean", "stock"])
def test_a_second_load_runs_no_forward_and_knows_the_same(unchecked: Path, work: list[str], forward: str) -> None:
    first = paceline.load(tiny_model("qwen3"), forward=forward)
    assert len(work) > 10
    work.clear()
    second = paceline.load(tiny_model("qwen3"), forward=forward)
    assert not work and told(second) == told(first)
    one, other = (paceline.generate(lm, [5, 6], max_new_tokens=4)[0].tokens for lm in (first, second))
    assert one == other


def change_weight(lm: LM) -> None:
    lm.model.get_input_embeddings().weight.data.view(-1)[0] += 1


CHANGES: dict[str, Callable[[LM], Any]] = {
    "a weight": change_weight, "a setting": lambda lm: setattr(lm.text_config, "rms_norm_eps", 1e-3),
    "the forward": lambda lm: setattr(lm, "asked_forward", "lean"), "packing": lambda lm: setattr(lm, "asked_packed", True),
    "threads": lambda lm: torch.set_num_threads(3),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_a_check_depends_on_names_the_file(change: Callable[[LM], Any], all_threads: None) -> None:
    lm = copy.copy(paceline.load(tiny_model("llama"), packed=False))
    before = kept.identity(lm)
    lm.text_config.name_or_path = "elsewhere"
    assert kept.identity(lm) == before
    change(lm)
    assert kept.identity(lm) != before


def test_the_processors_tricks_name_the_file(monkeypatch: pytest.MonkeyPatch, lm: LM) -> None:
    before = kept.identity(lm)
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
        with monkeypatch.context() as changed:
            changed.setenv(name, "AVX2")
            assert kept.identity(lm) != before
    monkeypatch.setattr(kept, "source", lambda: "another version")
    assert kept.identity(lm) != before


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"exact": tr', b"\xff\xfe\x00"])
def test_a_broken_file_is_written_anew(unchecked: Path, content: bytes) -> None:
    first = paceline.load(tiny_model("llama"), packed=False)
    (file,) = unchecked.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    assert told(paceline.load(tiny_model("llama"), packed=False)) == told(first)
    assert [f.read_bytes() for f in unchecked.iterdir()] == [whole]


def test_a_folder_that_cannot_be_used_is_one_note(unchecked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = paceline.load(tiny_model("llama"), packed=False)
    (unchecked / "file").touch()
    monkeypatch.setattr(kept, "folder", lambda: unchecked / "file")
    second = paceline.load(tiny_model("llama"), packed=False)
    assert told(second)[:-1] == told(first)[:-1]
    assert len(second.notes) == 1 and "cannot be kept" in second.notes[0]


def test_a_model_that_may_compute_anything_is_checked_every_time(unchecked: Path, work: list[str]) -> None:
    model = tiny_model("llama")
    model.model.layers[0].mlp.register_forward_hook(lambda module, given, out: out)
    paceline.load(model)
    work.clear()
    paceline.load(model)
    assert work and not list(unchecked.iterdir())


def test_few_files_are_kept(unchecked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    for i in range(5):
        kept.write(unchecked / f"checks-{i}.json", {"exact": [True, ""]})
    assert len(list(unchecked.iterdir())) == 3 and (unchecked / "checks-4.json").exists()
