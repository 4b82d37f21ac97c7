"""`paceline train hybrid`: a converted model learns to do with few keys, and stays a model that everything opens."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import paceline
from paceline.convert.hybrid import convert
from paceline.errors import DataError, ModelError, RequestError
from paceline.recipes import train_hybrid
from paceline.recipes.train_hybrid import Config, run

SPEC = "lighttransfer:layers=[1],sinks=2,recent=24"


@pytest.fixture(scope="module")
def config(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("hybrid")
    convert(str(model_folder), folder / "hybrid", SPEC, ["a text that is longer than what is kept"])
    lines = [json.dumps({"prompt": f"{i}?", "answer": f" {i} and {i} is {i + i}." * 2}) for i in range(60)]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    return Config(folder / "texts.jsonl", folder / "tuned", str(folder / "hybrid"), 12 * 4 * 64, rate=0.003, rows=4, length=64)


@pytest.fixture(scope="module")
def tuned(config: Config) -> Path:
    return run(config)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_it_predicts_better_and_is_the_same_kind_of_model(tuned: Path, config: Config) -> None:
    report = json.loads((tuned / "training.json").read_text())
    assert report["loss_after"] < report["loss_before"] - 0.1
    before, after = weights(Path(config.model)), weights(tuned)
    assert before.keys() == after.keys() and not torch.equal(before["lm_head.weight"], after["lm_head.weight"])
    lm, hybrid = paceline.load(str(tuned)), paceline.load(config.model)
    assert lm.patterns == hybrid.patterns and lm.patterns[1].sinks == 2 and lm.dtype == hybrid.dtype
    assert paceline.generate(lm, ["3?"], max_new_tokens=40)[0].tokens


def test_a_killed_run_goes_on_to_the_same_weights(tuned: Path, config: Config, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def dying(network, batches, gradient, loop, **options):
        def batch(step: int):
            if step == 7:
                raise Killed
            return batches(step)

        return train(network, batch, gradient, replace(loop, save_every_s=0.0), **options)

    train, again = train_hybrid.train, replace(config, out=tmp_path / "tuned")
    monkeypatch.setattr(train_hybrid, "train", dying)
    with pytest.raises(Killed):
        run(again)
    assert not again.out.exists()
    monkeypatch.setattr(train_hybrid, "train", train)
    assert (run(again) / "model.safetensors").read_bytes() == (tuned / "model.safetensors").read_bytes()


def test_another_conversion_does_not_go_on_from_this_ones_checkpoints(
    config: Config, model_folder: Path, tmp_path: Path
) -> None:
    small = replace(config, out=tmp_path / "tuned", model=str(tmp_path / "hybrid"), limit=1)
    convert(str(model_folder), tmp_path / "hybrid", SPEC, ["a text that is longer than what is kept"])
    run(small)
    convert(str(model_folder), tmp_path / "hybrid", SPEC.replace("[1]", "[0]"), ["a text that is longer than what is kept"])
    with pytest.raises(DataError, match="was begun with hybrid = "):
        run(small)


def test_adapters_are_merged(config: Config, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    out = run(replace(config, out=tmp_path / "tuned", lora=2, rate=0.01))
    before, after = weights(Path(config.model)), weights(out)
    assert before.keys() == after.keys()
    changed = {name.split(".")[-2] for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    report = json.loads((out / "training.json").read_text())
    assert report["loss_after"] < report["loss_before"]


def test_adapters_need_their_extra(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"install paceline\[lora\]"):
        run(replace(config, out=tmp_path / "tuned", lora=2))


@pytest.mark.parametrize(("change", "error", "said"), [
    ({"rows": 0}, RequestError, "rows"), ({"rate": 0.0}, RequestError, "rate"), ({"lora": -1}, RequestError, "lora"),
    ({"length": 26}, RequestError, "more than the 26 keys"), ({"data": Path("/nowhere")}, DataError, "no data at /nowhere"),
    ({"model": "zoo:tiny"}, ModelError, "convert it first"), ({"model": "/nowhere"}, ModelError, "/nowhere"),
])  # fmt: skip
def test_mistakes_are_said_before_anything_is_trained(change, error, said: str, config: Config, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        run(replace(config, out=tmp_path / "new", **change))
    assert not (tmp_path / "new").exists()


def test_texts_that_meet_no_cut_are_refused_and_the_model_stays(config: Config, tmp_path: Path) -> None:
    (tmp_path / "short.jsonl").write_text('{"prompt": "one", "answer": "two"}\n' * 60)
    with pytest.raises(DataError, match="longer than the 26 keys .* at most 7 tokens"):
        run(replace(config, data=tmp_path / "short.jsonl", out=tmp_path / "new"))
    with pytest.raises(RequestError, match="another folder"):
        run(replace(config, out=Path(config.model)))


def test_from_questions_with_answers_to_a_tuned_model(paceline_cli: Callable, model_folder: Path, config: Config,
                                                      tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps({"prompt": f"{i}?"}) + "\n" for i in range(3)))
    spec = ["--selector", "lighttransfer:keep=0.5,sinks=2,recent=24,last=4", "--out", tmp_path / "hybrid"]
    alone = paceline_cli("convert", model_folder, *spec, "--prompts", asked)
    assert alone.code == 1 and "None of 3 texts" in alone.err
    assert paceline_cli("convert", model_folder, *spec, "--prompts", config.data).code == 0
    done = paceline_cli("train", "hybrid", "--model", tmp_path / "hybrid", "--data", config.data, "--out", tmp_path / "tuned",
                        "--length", 48, "--rows", 2, "--limit", 1)
    assert done.code == 0 and (tmp_path / "tuned" / "model.safetensors").exists()
