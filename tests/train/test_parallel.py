"""Several processes train what one process would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from paceline.errors import RequestError
from paceline.recipes.train_draft import Config, check, load_target, made, run
from paceline.train.parallel import Team, join

METHODS = "glide,longspec:window=16"


def trained(model: Path, texts: Path, out: Path, processes: int, *more: str) -> dict[str, torch.Tensor]:
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"] if processes > 1 else []
    command = [sys.executable, "-m", *launcher, "paceline", "train", "draft", "--model", str(model), "--data", str(texts),
               "--out", str(out), "--width", "32", "--heads", "2", "--ffn", "48", "--rows", "4", "--length", "64", "--limit", "3",
               "--method", METHODS, "--positions", "anchored", "--no-half", *more]  # sums in bf16 depend on who adds what
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(newest(out), weights_only=True)["model"]


def newest(out: Path) -> Path:
    return max((out / "work" / "heads").glob("step-*.pt"))


def test_two_processes_train_what_one_does_also_with_the_target_spread(model_folder: Path, texts: Path, tmp_path: Path) -> None:
    alone = trained(model_folder, texts, tmp_path / "one", 1)
    config = Config(model=str(model_folder), method=METHODS, width=32, heads=2, ffn=48)
    target = load_target(str(model_folder))[0]
    fresh = {f"{name}.{key}": value for name, spec in check(config).items()
             for key, value in made(target, config, *spec).state_dict().items()}
    for name, more in (("two", ()), ("spread", ("--shard",))):
        together = trained(model_folder, texts, tmp_path / name, 2, *more)
        assert together.keys() == alone.keys() == fresh.keys()
        # A number whose gradient is nothing but rounding may step either way, so what counts is all of what was learned.
        apart = sum(float((together[key] - value).square().sum()) for key, value in alone.items()) ** 0.5
        learned = sum(float((value - fresh[key]).square().sum()) for key, value in alone.items()) ** 0.5
        assert apart < 0.001 * learned, (name, apart, learned)
        files = [load_file(tmp_path / run / "glide" / "model.safetensors") for run in ("one", name)]
        assert files[0].keys() == files[1].keys()


def test_a_team_of_one_changes_nothing_and_rows_are_shared_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    own = object()
    assert Team().gradient(own, []) is own and Team().leads and not Team(1, 2).leads  # type: ignore[arg-type]
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RequestError, match="multiple of the 3 processes, found 16"):
        join(16)
    monkeypatch.delenv("WORLD_SIZE")
    assert join(16) == Team(0, 1)
    with pytest.raises(RequestError, match="torchrun"):
        run(Config(shard=True))
