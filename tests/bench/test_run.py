"""A whole benchmark on a tiny model: figures that must be so, rivals that must be stock, settings without sense."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paceline.bench import suite
from paceline.bench.best import BEST_EACH, BEST_OVERALL
from paceline.bench.curve import Curve
from paceline.bench.methods import Paceline
from paceline.bench.page import render
from paceline.bench.report import caption, markdown
from paceline.bench.rivals import Terms, rivals
from paceline.bench.rivals.transformers import stock
from paceline.bench.run import Config, _methods, gather, prompts_of, run, target
from paceline.bench.smol_targets import SMOL
from paceline.bench.summary import PLAIN
from paceline.bench.zoo_targets import ZOO
from paceline.errors import ModelError, RequestError
from paceline.lm import LM
from paceline.testing import tiny_lm
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "p.jsonl"
    records = [{"prompt": "abc abc ab"}, {"category": "talk", "turns": ["hello", "and?"]}, {"prompt": "x" * 510}]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


@pytest.fixture(scope="module")
def report(folder: Path, prompts: Path) -> dict[str, Any]:
    pair = f"small_model:model={folder},length=3,worth=0"
    config = Config(
        model=str(folder), drafters=(pair, "ngram"), prompts=str(prompts), against=("transformers",),
        max_new_tokens=12, repeats=2, dtype="float32", threads=1, inexact=True,
    )  # fmt: skip
    return run(config) | {"command": suite.command(config)}


def method(report: dict[str, Any], start: str) -> dict[str, Any]:
    return next(m for name, m in report["methods"].items() if name.startswith(start) and "inexact" not in name)


def test_every_method_is_there(report: dict[str, Any]) -> None:
    names = list(report["methods"])
    assert names[0] == PLAIN and "paceline/ngram" in names and f"{PLAIN}, inexact" in names
    assert [n for n in names if n.startswith("transformers")] == [
        "transformers/plain", "transformers/prompt_lookup", "transformers/assisted", "transformers/assisted_heuristic",
    ]  # fmt: skip


def test_all_methods_write_plains_text(report: dict[str, Any]) -> None:
    for figures in report["methods"].values():
        assert figures["identical"] == 1.0 and figures["divergences"] == [] and figures["stable_over_repeats"]


def test_the_target_as_its_own_draft_is_always_accepted(report: dict[str, Any]) -> None:
    figures = method(report, "paceline/small_model")
    assert figures["acceptance_length"] > 3 and figures["accept_per_position"][0] == 1.0
    assert method(report, PLAIN)["acceptance_length"] == 1.0


def test_rivals_forwards_are_counted(report: dict[str, Any]) -> None:
    plain, assisted = method(report, "transformers/plain"), report["methods"]["transformers/assisted"]
    assert plain["acceptance_length"] == 1.0
    assert assisted["acceptance_length"] > 3


def test_the_report_says_what_ran(report: dict[str, Any]) -> None:
    described = method(report, "transformers/assisted")["what"]
    assert described["class"].startswith("transformers.models.llama") and described["attention"] == "sdpa"
    assert described["linears"] == ["Linear"] and described["assistant"]["num_assistant_tokens"] == 3
    assert report["methods"][PLAIN]["what"]["forward"] in ("fused", "lean", "stock")
    assert {"processor", "threads", "versions"} <= set(report["machine"])
    assert report["reading"]["share"] > 0 and report["reading"]["limit"]["method"] in ("sum", "packed_linear")


def test_later_turns_follow_and_long_prompts_are_counted_out(report: dict[str, Any]) -> None:
    assert report["dropped_prompts"] == 1
    assert {kind: f["outputs"] for kind, f in report["methods"][PLAIN]["by_task"].items()} == {"prompts": 1, "talk": 2}


def test_reports_render(report: dict[str, Any]) -> None:
    json.dumps(report, allow_nan=False)
    table = markdown(report)
    assert table.count("\n") == len(report["methods"]) + 1 and "paceline/ngram" in table
    page = render({"tiny": report})
    assert page.count("| not measured |") == len(SMOL + ZOO) and report["command"] in page


def test_rows_are_measured_together_and_one_by_one(folder: Path) -> None:
    config = Config(
        model=str(folder), drafters=("ngram",), tasks=("code",), limit=3, rows=2, max_new_tokens=8, repeats=1, threads=1
    )
    found = run(config)["methods"]
    assert {PLAIN, f"{PLAIN}, one by one", "paceline/ngram", "paceline/ngram, one by one"} == set(found)
    assert found["paceline/ngram"]["outputs"] == 3 and found["paceline/ngram"]["identical"] == 1.0


def test_a_grown_target_writes_the_same_text(folder: Path) -> None:
    config = Config(
        model=str(folder), drafters=("ngram",), tasks=("code",), limit=1, max_new_tokens=8, repeats=1, threads=1,
        grow=1.0, against=("transformers/plain",), dtype="float32",
    )  # fmt: skip
    found = run(config)
    assert found["grown"] and found["model"]["parameters"] > 5e5
    assert all(m["identical"] == 1.0 for m in found["methods"].values())


def test_auto_is_measured_warm_cold_and_against_hindsight(folder: Path) -> None:
    config = Config(
        model=str(folder), drafters=("suffix", "ngram", "auto"), tasks=("code", "prose"), limit=2, max_new_tokens=8, repeats=2,
        threads=1, cold=True,
    )  # fmt: skip
    report = run(config) | {"command": suite.command(config)}
    found = report["methods"]
    fixed = [PLAIN, "paceline/suffix", "paceline/ngram"]
    assert list(found) == [*fixed, "paceline/auto", "paceline/auto, cold", BEST_EACH, BEST_OVERALL]
    assert all(m["identical"] == 1.0 for m in found.values()) and "--cold" in report["command"]
    for best, choices in ((BEST_EACH, 8), (BEST_OVERALL, 2)):
        assert found[best]["what"]["of"] == fixed and sum(found[best]["what"]["chosen"].values()) == choices
        assert {"low", "value", "high"} <= set(found["paceline/auto"]["speedup_vs"][best])
    page = render({"auto": report})
    assert page.count("| not measured |") == len(SMOL + ZOO) - sum(t.benchmark == "auto" for t in SMOL + ZOO)


def test_what_is_cold_knows_nothing_of_earlier_calls() -> None:
    lm, prompt = tiny_lm(), [list(range(3, 30))]
    warm, cold = (Paceline("auto", lm, "auto", {}, cold=cold) for cold in (False, True))
    for method in (warm, cold):
        method.run(prompt, 24)
        before = method.controller
        method.run([list(range(5, 40))], 24)
        assert (method.controller is before) is not method.cold
    stats = [cold.run([list(range(5, 40))], 24).stats[0] for _ in range(2)][1]
    assert stats.sources.get("past", [0, 0])[1] == 0


def test_sampled_texts_are_plains_too(folder: Path) -> None:
    """With one seed, reproducibly; and they are no greedy texts."""
    config = Config(
        model=str(folder), drafters=("ngram", "auto"), tasks=("incompressible",), limit=2, max_new_tokens=12, repeats=1,
        threads=1, temperature=1.5,
    )  # fmt: skip
    report = run(config)
    assert all(m["identical"] == 1.0 and m["stable_over_repeats"] for m in report["methods"].values())
    assert "temperature 1.5" in caption(report) and BEST_EACH not in report["methods"]
    lm = target(config)
    plain = [_methods(replace(config, temperature=t), lm, config.model)[0] for t in (0.0, 1.5)]
    greedy, sampled = (method.run([[5, 6, 7]], 12).tokens for method in plain)
    assert greedy != sampled


def test_kinds_of_text_take_turns(folder: Path) -> None:
    config = Config(model=str(folder), tasks=("code", "prose"), limit=2, max_new_tokens=4)
    lm = target(config)
    groups, _ = gather(config, lm, Paceline(PLAIN, lm, "none", {}), prompts_of(config))
    assert [g.kind for g in groups] == ["code", "prose"] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"cold": True},
        {"rows": 0},
        {"repeats": 0},
        {"limit": 0},
        {"rows": 2, "against": ("transformers",)},
        {"prompts": "p", "tasks": ("code",)},
    ],
)
def test_settings_that_make_no_benchmark(settings: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Config(**settings)


def test_an_unknown_rival(folder: Path) -> None:
    import paceline

    with pytest.raises(RequestError, match="Did you mean 'transformers'"):
        rivals(("transformer",), Terms(str(folder), paceline.load(str(folder))))


def test_a_rival_with_foreign_parts_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    class Odd(torch.nn.Linear): ...

    lm = LM(transformers.AutoModelForCausalLM.from_pretrained(folder))
    honest = transformers.AutoModelForCausalLM.from_pretrained

    def tampered(*args: Any, **settings: Any) -> Any:
        model = honest(*args, **settings)
        model.lm_head = Odd(32, 257)
        return model

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", tampered)
    with pytest.raises(ModelError, match="Odd"):
        stock(Terms(str(folder), lm))


def test_the_command_repeats_the_settings() -> None:
    config = Config(drafters=("ngram", "none"), grow=100.0, packed=False, data="/some/where")
    said = "paceline bench --model zoo:tiny --drafter ngram --drafter none --data DIR --no-packed --grow 100"
    assert suite.command(config) == said
    assert suite.command(Curve(shape="8b", behind=(64, 500))) == "paceline bench --curve --shape 8b --behind 64 --behind 500"


def test_a_suite_runs_and_writes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Config(
        model=str(folder), drafters=("ngram",), tasks=("code",), limit=1, max_new_tokens=4, repeats=1, threads=1,
        against=("llama_cpp",),
    )  # fmt: skip
    monkeypatch.setattr("paceline.bench.rivals.llama_cpp.installed", lambda: False)
    monkeypatch.setitem(suite.SUITES, "mini", {"one": small, "two": small})
    said: list[str] = []
    reports = suite.run_suite("mini", ("one",), {}, tmp_path / "out", said.append)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["one.json"]
    assert said[0].startswith("llama_cpp is left out. Install") and said[1].startswith("one:")
    assert "## one" in render(reports)
    with pytest.raises(RequestError, match="Did you mean 'two'"):
        suite.run_suite("mini", ("tow",), {}, tmp_path, said.append)


def test_a_suite_is_only_made_shorter_and_tells_what_lacks_data() -> None:
    smol = suite.SUITES["smol"]
    long, short = (suite.settled(smol[name], {"limit": 8, "repeats": 9, "data": "D"}) for name in ("smol", "smol_transformers"))
    assert isinstance(long, Config) and isinstance(short, Config)
    assert (long.limit, long.repeats, long.data) == (8, 2, "D") and (short.limit, short.repeats) == (2, 1)
    shipped = suite.settled(smol["smol"], {})
    assert isinstance(shipped, Config) and shipped.tasks == ("code", "math")
    assert suite.settled(suite.SUITES["zoo"]["spec_bench"], {}) is None


def test_every_target_names_a_benchmark_of_the_suite() -> None:
    assert {target.benchmark for target in SMOL} <= set(suite.SUITES["smol"])
    assert {target.benchmark for target in ZOO} <= set(suite.SUITES["zoo"])


@pytest.mark.parametrize(
    ("flags", "code", "complaint"),
    [
        (["--task", "maths"], 1, "Did you mean 'math'"),
        (["--drafter", "ngrm"], 2, "Did you mean 'ngram'"),
        (["--against", "transformer"], 1, "Did you mean 'transformers'"),
        (["--prompts", "/nowhere.jsonl"], 1, "Cannot read"),
        (["--rows", "0"], 1, "rows must be"),
        (["--suite", "smoll"], 1, "Did you mean 'smol'"),
        (["--curve", "--shape", "8"], 1, "Did you mean '8b'"),
        (["--rows", "many"], 2, "rows"),
        (["--selector", "topk"], 2, "scores keys"),
    ],
)
def test_bad_values_on_the_command_line(
    paceline_cli: Callable, folder: Path, flags: list[str], code: int, complaint: str
) -> None:
    outcome = paceline_cli("bench", "--model", folder, *flags)
    assert outcome.code == code and complaint in outcome.err


def test_the_verb_prints_a_table_and_writes_json(paceline_cli: Callable, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    flags = [
        "--task",
        "code",
        "--limit",
        1,
        "--max-new-tokens",
        4,
        "--repeats",
        1,
        "--drafter",
        "ngram",
        "--threads",
        1,
    ]
    outcome = paceline_cli("bench", "--model", folder, *flags, "--json", path)
    assert outcome.code == 0, outcome.err
    assert "paceline/ngram" in outcome.out and "node budget" in outcome.out
    assert set(json.loads(path.read_text())["methods"]) == {PLAIN, "paceline/ngram"}


def test_a_selector_is_measured_beside_the_whole_model(paceline_cli: Callable, folder: Path) -> None:
    spec = "lighttransfer:layers=[1],sinks=2,recent=10"
    flags = ["--task", "code", "--limit", 1, "--max-new-tokens", 4, "--repeats", 1, "--drafter", "ngram", "--threads", 1]
    outcome = paceline_cli("bench", "--model", folder, *flags, "--selector", spec, "--json", "-")
    assert outcome.code == 0, outcome.err
    assert set(json.loads(outcome.out)["methods"]) == {PLAIN, "paceline/ngram", f"{PLAIN}, {spec}", f"paceline/ngram, {spec}"}


def test_repeats_of_a_prompt_do_not_draft_from_each_other() -> None:
    """`suffix` keeps past outputs: a second call with the same prompt must not find the first one's."""
    lm = tiny_lm()
    method = Paceline("suffix", lm, "suffix:worth=0", {})
    first, again = (method.run([list(range(3, 30))], 24).stats[0] for _ in range(2))
    assert again.sources.get("past", [0, 0])[1] == 0 and again.rounds == first.rounds
    held = Paceline("suffix", lm, "suffix:worth=0", {"tenant": "mine"})
    first, again = (held.run([list(range(3, 30))], 24).stats[0] for _ in range(2))
    assert again.rounds < first.rounds  # whose store it is, says whoever names it
