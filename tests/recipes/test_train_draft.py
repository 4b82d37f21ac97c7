"""`paceline train draft`: heads that draft for the model they were trained for, resumable, with their acceptance measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import paceline
from paceline.errors import DataError, RequestError, SpecError
from paceline.recipes.train_draft import Config, listed, run
from paceline.testing import tiny_model
from paceline.train import heads as training
from tests.tiny import save_tiny

BOTH = "glide,small,glide:[mask=causal,cross_norm=true]"


@pytest.fixture(scope="module")
def config(texts: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    out = tmp_path_factory.mktemp("heads")
    return Config(texts, out, str(model_folder), BOTH, tokens=6 * 4 * 64, width=32, heads=2, ffn=48, rows=4, length=64)


@pytest.fixture(scope="module")
def heads(config: Config) -> Path:
    return run(config)


@pytest.mark.parametrize("name", ["glide", "small", "glide-causal-true"])
def test_a_head_drafts_for_its_model(heads: Path, config: Config, name: str) -> None:
    report = json.loads((heads / name / "training.json").read_text())
    rates = report["accept_per_position"]
    assert len(rates) == config.block and all(0 <= rate <= 1 for rate in rates)
    shape = json.loads((heads / name / "config.json").read_text())
    assert shape["speculators_model_type"] == name.split("-")[0] and shape["paceline"]["cross_norm"] == name.endswith("true")
    assert shape["paceline"]["reads"] == ([] if name == "small" else [1])
    lm = paceline.load(config.model, dtype="fp32")
    out = paceline.generate(lm, ["3 plus 4 is"], drafter=f"glide:model={heads / name},worth=0", max_new_tokens=20)[0]
    assert out.tokens == paceline.generate(lm, ["3 plus 4 is"], max_new_tokens=20)[0].tokens
    assert out.stats.drafted > 0 and not out.stats.failures


def test_a_killed_run_goes_on_to_the_same_weights(heads: Path, config: Config, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def dying(network, batches, gradient, loop, **options):
        def batch(step: int):
            if step == 3:
                raise Killed
            return batches(step)

        return train(network, batch, gradient, replace(loop, save_every_s=0.0), **options)

    train = training.train
    monkeypatch.setattr(training, "train", dying)
    with pytest.raises(Killed):
        run(replace(config, out=tmp_path))
    assert not (tmp_path / "glide").exists()
    monkeypatch.setattr(training, "train", train)
    run(replace(config, out=tmp_path))
    for name in ("glide", "small"):
        assert (tmp_path / name / "model.safetensors").read_bytes() == (heads / name / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("change", "error", "said"), [
    ({"method": "glyde"}, SpecError, "Did you mean 'glide'"), ({"method": "glide:maks=causal"}, SpecError, "you mean 'mask'"),
    ({"method": "glide:mask=casual"}, SpecError, "you mean 'causal'"),
    ({"method": "glide:layers=two"}, SpecError, "whole number"),
    ({"method": ""}, RequestError, "at least one method"), ({"loss": "lk"}, RequestError, "kl"),
    ({"width": 33}, RequestError, "width"), ({"block": 0}, RequestError, "block"),
    ({"data": Path("/nowhere")}, DataError, "no data at /nowhere"),
    ({"model": "zoo:tinny"}, paceline.ModelError, "tiny"), ({"model": "/nowhere"}, paceline.ModelError, "/nowhere"),
])  # fmt: skip
def test_mistakes_are_said_before_anything_is_trained(change, error, said: str, config: Config, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        run(replace(config, out=tmp_path / "new", **change))
    assert not list((tmp_path / "new").glob("*/config.json"))


def test_commas_inside_brackets_stay() -> None:
    assert listed("glide, small,glide:[mask=causal,layers=2]") == ["glide", "small", "glide:mask=causal,layers=2"]


def test_the_verb(paceline_cli: Callable, config: Config, tmp_path: Path) -> None:
    sizes = ["--width", 32, "--heads", 2, "--ffn", 48, "--rows", 2, "--length", 32]
    flags = ["--model", config.model, *sizes, "--out", tmp_path / "heads", "--limit", 2, "--data", tmp_path / "one.txt"]
    (tmp_path / "one.txt").write_text("one and one is two. " * 40)  # a lone text, of which the end is held out
    done = paceline_cli("train", "draft", *flags)
    assert done.code == 0 and json.loads((tmp_path / "heads" / "glide" / "training.json").read_text())["tokens"] == 2 * 2 * 32
    (tmp_path / "one.txt").write_text("another text")
    changed = paceline_cli("train", "draft", *flags)
    assert changed.code == 1 and "was begun with data = " in changed.err and "use another folder" in changed.err
    assert paceline_cli("train", "draft", *flags, "--data", config.data).code == 1


def test_a_folder_belongs_to_the_target_it_was_begun_for(config: Config, tmp_path: Path) -> None:
    model = save_tiny(tmp_path)
    small = replace(config, out=tmp_path / "heads", model=str(model), method="small", limit=1)
    run(small)
    tiny_model(vocab=257, seed=3).save_pretrained(model)
    with pytest.raises(DataError, match="was begun with target = "):
        run(small)


def test_what_there_is_to_train(paceline_cli: Callable) -> None:
    assert "draft" in paceline_cli("train", "--help").out
    wrong = paceline_cli("train", "drat")
    assert wrong.code == 2 and "Did you mean 'draft'" in wrong.err
    assert paceline_cli("train").code == 2
