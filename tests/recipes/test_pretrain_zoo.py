"""The zoo's recipe, end to end at its smallest size: folders that load, a card, and a resumable run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from paceline.errors import DataError, RequestError
from paceline.recipes import pretrain_zoo
from paceline.recipes.pretrain_zoo import SIZES, Config, run


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield run(Config(out=tmp_path_factory.mktemp("zoo"), fast=True))


@pytest.mark.parametrize("name", ["tiny", "tiny-draft"])
def test_the_folders_load_and_generate(zoo: Path, name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(zoo / name)
    tokenizer = AutoTokenizer.from_pretrained(zoo / name)
    assert model.dtype == torch.bfloat16 and model.config.vocab_size == len(tokenizer)
    assert model.config._attn_implementation == "sdpa"
    ends = GenerationConfig.from_pretrained(zoo / name).eos_token_id
    assert ends == [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    ids = tokenizer("def add_3(value):", return_tensors="pt").input_ids
    assert model.generate(ids, max_new_tokens=5, do_sample=False).shape[1] > ids.shape[1]


@pytest.mark.parametrize("name", ["tiny", "tiny-draft"])
def test_the_card_tells_sources_losses_and_the_command(zoo: Path, name: str) -> None:
    card = (zoo / name / "README.md").read_text()
    for word in ("GSM8K train (MIT)", "CC BY-SA", "bits per byte", "paceline cook pretrain_zoo", f"zoo:{name}"):
        assert word in card
    metrics = json.loads((zoo / "metrics.json").read_text())[name]
    assert set(metrics) == {"code", "math", "tools", "prose"}
    assert all(f"{m['bits_per_byte']:.3f}" in card and 0 < m["loss"] < 7 for m in metrics.values())


def test_finished_stages_are_skipped(zoo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in zoo.rglob("*") if path.is_file()}
    run(Config(out=zoo, fast=True))
    changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert changed == ["settings.json"]


def test_a_run_killed_between_stages_ends_with_the_same_target(zoo: Path, tmp_path: Path) -> None:
    config = Config(out=tmp_path, fast=True)
    for stage in ("tokenizer", "corpus", "target"):
        run(replace(config, stage=stage))
    assert not (tmp_path / "tiny-draft").exists()
    assert (tmp_path / "tiny/model.safetensors").read_bytes() == (zoo / "tiny/model.safetensors").read_bytes()


def test_a_snapshot_of_the_unfinished_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_zoo, "SNAPSHOT_EVERY_S", 0.0)
    run(Config(out=tmp_path / "zoo", fast=True, stage="target", snapshot=tmp_path / "now"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "now" / "tiny").config.vocab_size == 400


def test_bad_requests_say_what_to_do(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Did you mean 'target'"):
        run(Config(out=tmp_path, fast=True, stage="taget"))
    with pytest.raises(DataError, match="--stage target"):
        run(Config(out=tmp_path, fast=True, stage="draft"))
    with pytest.raises(DataError, match="seed = 0, not 1"):
        run(Config(out=zoo, fast=True, seed=1))
    with pytest.raises(DataError, match="--data"):
        run(Config(data=tmp_path / "absent", out=tmp_path / "other", stage="tokenizer"))


@pytest.mark.parametrize("wrong", [{"code": -0.1}, {"prose": 0.0}, {"long": 1.5}, {"draft_tokens": 0}, {"dialogues": -3}])
def test_senseless_numbers_are_refused(wrong: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"{next(iter(wrong))} to be .* found {next(iter(wrong.values()))}"):
        run(Config(out=tmp_path, fast=True, **wrong))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_shares_add_up_and_the_real_sizes_fit_the_zoo() -> None:
    config = Config()
    assert config.code + config.math + config.tools + config.prose == pytest.approx(1)
    parameters = {"target": 11.15e6, "draft": 1.2e6}
    for name, size in SIZES.items():
        head = size.width // size.heads
        layer = 2 * size.width**2 + 2 * size.width * size.kv_heads * head + 3 * size.width * size.ffn + 2 * size.width
        count = size.vocabulary * size.width + size.layers * layer + size.width
        assert count == pytest.approx(parameters[name], rel=0.1)


def test_a_run_goes_on_from_an_earlier_one(zoo: Path, tmp_path: Path) -> None:
    run(Config(out=tmp_path, fast=True, start=zoo, seed=1))
    for name in ("tiny", "tiny-draft"):
        before, after = (json.loads((folder / name / "training.json").read_text()) for folder in (zoo, tmp_path))
        assert (before["runs"], after["runs"]) == (1, 2) and after["tokens"] > before["tokens"]
        assert "--start" in (tmp_path / name / "README.md").read_text()
        assert (zoo / name / "tokenizer.json").read_bytes() == (tmp_path / name / "tokenizer.json").read_bytes()
    metrics = [json.loads((folder / "metrics.json").read_text())["tiny"] for folder in (zoo, tmp_path)]
    assert metrics[1]["math"]["loss"] < metrics[0]["math"]["loss"]
    with pytest.raises(DataError, match="to go on from"):
        run(Config(out=tmp_path / "other", fast=True, start=tmp_path / "nothing"))
