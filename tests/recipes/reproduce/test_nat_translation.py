"""The table of one-pass translation runs through at its smallest and goes on where it was; its arithmetic by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paceline.data.parallel import Pairs
from paceline.errors import DataError, RequestError
from paceline.models.translation.body import padded
from paceline.models.translation.config import TranslationConfig
from paceline.models.translation.mask_predict import mask_predict
from paceline.models.translation.nat import Nat
from paceline.models.translation.subwords import Subwords
from paceline.models.translation.translator import Translator
from paceline.recipes.reproduce import nat_translation
from paceline.recipes.reproduce.nat_translation import _speed
from paceline.recipes.reproduce.nat_translation._fluency import NOTHING, language_model, nats
from paceline.recipes.reproduce.nat_translation._page import NAMES, above, verdict
from paceline.recipes.reproduce.nat_translation._written import at_lengths
from paceline.recipes.train_translate import Config as Training
from paceline.train.translation_metrics import can_score

TEXTS = Pairs(["a red house", "two birds", "a ball and a house"], ["ein rotes Haus", "zwei Vögel", "ein Ball und ein Haus"])
needs_sacrebleu = pytest.mark.skipif(not can_score(), reason="needs sacrebleu")


@pytest.fixture(scope="module")
def held() -> Translator:
    torch.manual_seed(0)
    subwords = Subwords.trained(TEXTS.source + TEXTS.target, 300)
    return Translator(Nat(TranslationConfig(vocabulary=len(subwords), width=16, heads=2, ffn=24, layers=1, decoder_layers=1,
                                            longest=24)), subwords)  # fmt: skip


@needs_sacrebleu
def test_two_directions_on_one_page(tmp_path: Path) -> None:
    options: dict[str, Any] = {"out": tmp_path / "out", "work": tmp_path / "work", "fast": True, "teacher_steps": 2, "steps": 2,
                               "tuning_steps": 1, "fluency_steps": 1, "repeats": 1}  # fmt: skip
    page = nat_translation.run(nat_translation.Config(**options, name="there", data="distilled"))
    nat_translation.run(nat_translation.Config(**options | {"repeats": 0}, name="again", data="raw"))
    record, text = json.loads(page.with_suffix(".json").read_text()), page.read_text()
    assert list(record) == ["there", "again"] and record["again"]["speed"] is None and set(record["again"]["changes"]) == {"raw"}
    assert "## again: 40 pairs" in text and text.count("\n| there | ") == 1 and page.with_suffix(".png").stat().st_size > 5000
    there = record["there"]
    assert set(there["speed"]["sizes"]) == {"1", "32"} and list(there["ways"]) == ["teacher", *(f"distilled {n}" for n in NAMES)]
    drafts = [arm for arms in there["drafted"]["sizes"].values() for way, arm in arms.items() if way != "greedy"]
    assert len(drafts) == 2 * 3 and all(arm["identical"] == 1 for arm in drafts) and record["again"]["drafted"] is None
    assert set(there["measured"]["distilled xe"]) > {"confidence", "nats", "precision_4"}
    levels = [there["measured"][name]["bleu"]["value"] for name in ("references", "references, words shuffled")]
    assert levels[0] == pytest.approx(100) and levels[1] < 60
    with pytest.raises(DataError, match="steps = 2, not 3"):
        nat_translation.run(nat_translation.Config(**options | {"steps": 3}, name="there"))


def test_both_objectives_go_on_from_one_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[Training]()

    def made(job: Training) -> Path:
        asked.append(job)
        job.out.mkdir()
        return job.out

    monkeypatch.setattr(nat_translation.train_translate, "run", made)
    folders = nat_translation.trained(Training(), tmp_path, ("raw", "distilled"))
    assert [(job.raw, job.objective.partition(":")[0], job.out.name) for job in asked] == [
        (raw, name, "models") for raw in (True, False) for name in ("oaxe", "ngram_oaxe")]
    assert list(folders) == ["teacher", *(f"{kind} {name}" for kind in ("raw", "distilled") for name in NAMES)]
    assert folders["raw xe"] == tmp_path / "raw-oaxe" / "xe" and folders["raw ngram_oaxe"].is_dir()
    assert nat_translation.trained(Training(), tmp_path, ("raw", "distilled")) == folders and len(asked) == 4  # and never again


def test_what_cannot_be_run() -> None:
    with pytest.raises(RequestError, match="a name that can be a folder's, found 'a/b'"):
        nat_translation.run(nat_translation.Config(name="a/b"))
    with pytest.raises(RequestError, match="found 0 and 5"):
        nat_translation.run(nat_translation.Config(fluency_steps=0))


def test_one_pass_at_given_lengths(held: Translator) -> None:
    found = at_lengths(held, TEXTS, [3, 1, 99])
    source = padded([held.subwords.encode(text) for text in TEXTS.source])
    right = [some[0] for some in mask_predict(held.model, source, sizes=torch.tensor([3, 1, 24]))]
    assert found["tokens"] == [one.tokens for one in right]
    assert found["chances"][1] == pytest.approx(math.exp(right[1].score))
    assert all(0 < sure < len(some) for sure, some in zip(found["chances"], found["tokens"], strict=True))


def test_a_language_model_knows_targets_alone(held: Translator, tmp_path: Path) -> None:
    lm = language_model(held, TEXTS, tmp_path, 40)
    ids = [held.subwords.encode(text) for text in TEXTS.target]
    found = nats(lm, TEXTS.target, TEXTS.source)
    logits = lm.model(padded([NOTHING]), padded(ids[1:2]))[0]
    own = torch.nn.functional.cross_entropy(logits, torch.tensor([*ids[1], 2]), reduction="sum")  # 2: the end
    assert found[:, 1].tolist() == [len(some) + 1 for some in ids] and found[1, 0] == pytest.approx(own.item(), rel=1e-4)
    shuffled = nats(lm, ["Haus ein rotes", "Vögel zwei", "und Haus ein ein Ball"], TEXTS.source)
    assert found[:, 0].sum() < 0.8 * shuffled[:, 0].sum()


def test_rates_by_a_clock_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def writes(tokens: int, cost: float) -> Any:
        def translate(texts: list[str]) -> list[Any]:
            clock[0] += cost * tokens
            return [SimpleNamespace(tokens=[7] * tokens) for _ in texts]

        return translate

    monkeypatch.setattr(_speed.time, "perf_counter", lambda: clock[0])
    arms = {"greedy": writes(1, 3.0), "beam of 4": writes(4, 3.0), "1 length": writes(1, 0.5)}
    found, wrote = _speed.rates(arms, _speed.batched(["a b", "a", "a b c"], 2), 3, _speed.AGAINST)
    assert list(wrote) == list(arms) and [len(each) for each in wrote.values()] == [3, 3, 3]
    assert found["1 length"]["sentences"] == pytest.approx(3) and found["greedy"]["sentences"] == pytest.approx(0.5)
    ratios = found["1 length"]["sentences over greedy"], found["1 length"]["tokens over beam of 4"]
    assert [ratio["value"] for ratio in ratios] == pytest.approx([6, 6]) and ratios[0]["low"] == pytest.approx(6)
    assert _speed.batched(["a b", "a", "a b c"], 2) == [["a", "a b"], ["a b c"]]


def test_signs() -> None:
    sure, unsure, worse = ({"value": v, "low": v - 1, "high": v + 1} for v in (2.0, 0.5, -2.0))
    assert [verdict(figure) for figure in (sure, unsure, worse)] == ["+", "(+)", "−"]
    steps = [{"oaxe less xe": {"bleu": a}, "ngram_oaxe less oaxe": {"bleu": b}} for a, b in ((sure, unsure), (sure, worse))]
    assert above({"x": {"changes": {"raw": steps[0], "distilled": steps[1]}}}) == {"OaXE": (2, 2, 2), "n-gram OaXE": (1, 0, 2)}
