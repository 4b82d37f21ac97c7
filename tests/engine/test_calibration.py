"""A calibration is believed for the model and the machine that it was made on, and for nothing else."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import paceline
from paceline.controllers.cost import Cost
from paceline.engine import Engine, auto
from paceline.engine.calibration import Measured, identity, read_calibration, write_calibration
from paceline.errors import DataError
from paceline.testing import ToyLM, tiny_lm
from tests.models.draft_head.test_head import ids

ARMS = [Measured("none", 0, 1.0, 0.01), Measured("ngram:length=4,max_n=3", 8, 2.5, 0.012, 1e-5)]


@pytest.fixture(scope="module")
def lm() -> Any:
    return tiny_lm()


@pytest.fixture
def path(lm: Any, tmp_path: Path) -> Path:
    path = tmp_path / "c.json"
    write_calibration(path, identity(lm), ARMS, {"torch": "1"})
    return path


@pytest.fixture(autouse=True)
def unsaid() -> None:
    auto.ignored.cache_clear()


def test_what_is_written_is_read(lm: Any, path: Path) -> None:
    assert read_calibration(path) == (identity(lm), ARMS)
    assert [p.name for p in path.parent.iterdir()] == ["c.json"]


def test_a_controller_begins_with_it_however_the_spec_is_written(lm: Any, path: Path) -> None:
    engine = Engine(lm, ["suffix", "ngram:max_n=3, length=4"], controller=f"cost:budgets=[4,8],calibration={path}")
    shared = zip(engine.controller.arms, engine.controller.shared, strict=True)
    assert {(arm.drafter, arm.budget): past.all.mean for arm, past in shared if past.all.rounds} == {(1, 8): 2.5}
    assert engine.controller.catching[-1] == 1e-5
    prices = engine.controller.prices[0]
    assert prices.line.at(0) == 0.01 and prices.whole[-1].seconds == 0.012


def test_places_count_the_drafters_that_could_be_built(lm: Any, path: Path) -> None:
    from paceline.drafters.small_model import SmallModel

    drafters = [SmallModel(model=ToyLM(5)), "ngram:length=4,max_n=3"]
    engine = Engine(lm, drafters, controller=f"cost:budgets=8,calibration={path}")
    assert len(engine.drafters) == 1 and engine.controller.options.prior == ((1.0, 0.01, 0.0), (2.5, 0.012, 1e-5))


def test_the_text_stays_plain_decodings(lm: Any, path: Path) -> None:
    [plain] = paceline.generate(lm, [ids(20)], max_new_tokens=30, eos=())
    [out] = paceline.generate(lm, [ids(20)], drafter="auto", controller=f"cost:calibration={path}", max_new_tokens=30, eos=())
    assert out.tokens == plain.tokens


def test_a_file_of_another_model_machine_or_run_is_ignored_and_said_once(
    lm: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "paceline"):
        for target in (tiny_lm(seed=1), tiny_lm(seed=1), ToyLM(300)):
            engine = Engine(target, ["ngram:length=4,max_n=3", "suffix"], controller=f"cost:budgets=8,calibration={path}")
            assert engine.controller.options.prior == ()
    assert len(caplog.records) == 2 and "fingerprint" in caplog.text


@pytest.mark.parametrize(("name", "value"), [("processor", "another"), ("threads", 99), ("dtype", "float16"), ("forward", "x")])
def test_every_part_of_the_identity_counts(
    lm: Any, path: Path, name: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found = json.loads(path.read_text())
    found["holds_for"][name] = value
    path.write_text(json.dumps(found))
    with caplog.at_level(logging.WARNING, "paceline"):
        made = auto.informed(Cost(budgets=(8,), calibration=str(path)), ["ngram"], lm)
    assert made.prior == () and f"its {name} is" in caplog.text


def broken(**changes: Any) -> str:
    arm = {"drafter": "ngram", "budget": 8, "tokens_per_round": 2.0, "seconds_per_round": 0.1, "catching_up_seconds_per_token": 0}
    return json.dumps({"format": "paceline-calibration-1", "holds_for": {}, "arms": [arm | changes]})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "x"}', "\x00", broken(seconds_per_round=0), broken(budget="many"),
                                  broken(tokens_per_round=float("nan")), broken(drafter="ngram:[")])
def test_a_corrupt_file_is_ignored_and_said_once(text: str, lm: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(DataError):
        read_calibration(path)
    with caplog.at_level(logging.WARNING, "paceline"):
        for _ in range(2):
            Engine(lm, ["ngram", "suffix"], controller=f"cost:calibration={path}")
    assert len(caplog.records) == 1 and "is ignored" in caplog.text


def test_no_file_there(lm: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "paceline"):
        Engine(lm, ["ngram"], controller=f"cost:calibration={tmp_path / 'none.json'}")
    assert "cannot be read" in caplog.text


def test_it_cannot_be_written_into_no_folder(lm: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot write"):
        write_calibration(tmp_path / "no" / "c.json", identity(lm), ARMS, {})
