"""`paceline generate` from end to end on a tiny model."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def go(paceline_cli: Callable, model_folder: Path) -> Callable:
    def call(*arguments: object) -> object:
        return paceline_cli("generate", *arguments, "--model", model_folder, "--max-new-tokens", 12)

    return call


def test_stdout_is_the_text_alone_when_piped(go: Callable) -> None:
    outcome = go("abc abc abc", "--drafter", "ngram")
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.endswith("\n") and "\x1b[" not in outcome.out


def test_drafted_text_is_plain_text(go: Callable) -> None:
    assert go("abc abc abc", "--drafter", "ngram").out == go("abc abc abc", "--drafter", "none").out


def test_compare_shows_both_runs_on_stderr(go: Callable) -> None:
    outcome = go("abc abc abc", "--drafter", "ngram", "--compare", "--repeats", 1)
    assert outcome.code == 0
    assert all(word in outcome.err for word in ("plain", "drafted", "speed-up", "identical"))
    assert "speed-up" not in outcome.out


def test_json_to_a_file(go: Callable, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    outcome = go("abc", "--drafter", "ngram", "--compare", "--repeats", 1, "--logprobs", 2, "--json", path)
    report = json.loads(path.read_text())
    [generation] = report["generations"]
    assert outcome.out == generation["text"] + "\n"
    assert len(generation["tokens"]) == generation["stats"]["new_tokens"] <= 12
    assert len(generation["logprobs"]) == len(generation["tokens"])
    assert set(report["comparison"]["methods"]) == {"plain", "drafted"} and report["comparison"]["identical"]
    assert report["model"]["forward"] in ("fused", "lean", "stock")


def test_json_to_the_terminal_is_json_alone(go: Callable) -> None:
    assert json.loads(go("abc", "--json", "-").out)["drafter"] == "auto"


def test_sampling_flags_reach_the_engine(go: Callable) -> None:
    one, two = (go("abc", "--temperature", 1.5, "--seed", seed).out for seed in (1, 2))
    assert one != two
    assert go("abc", "--temperature", 1.5, "--seed", 1).out == one
    assert go("abc", "--logit-bias", "66=1000").out.strip() == go("abc", "--logit-bias", "66=1000").out.strip()


def test_a_relaxed_rule_says_what_it_spent(go: Callable, tmp_path: Path) -> None:
    """On the terminal and in the JSON, for each output; a lossless rule says nothing of the kind."""
    warm = ("abc abc abc", "--temperature", 1, "--seed", 3, "--drafter", "ngram:min_n=1,worth=0", "--n", 2,
            "--json", tmp_path / "out.json")
    relaxed = go(*warm, "--rule", "annealed:delta=50,schedule=uniform")
    report = json.loads((tmp_path / "out.json").read_text())
    spent = [g["stats"]["spent"] for g in report["generations"]]
    assert report["lossless"] is False and report["rule"].startswith("annealed") and max(spent) > 0
    assert "NOT LOSSLESS" in relaxed.err and ", ".join(f"{s:.3f}" for s in spent) in relaxed.err
    assert "LOSSLESS" not in go(*warm).err and json.loads((tmp_path / "out.json").read_text())["lossless"] is True


def test_a_relaxed_rule_is_compared_as_one(go: Callable) -> None:
    outcome = go("abc", "--temperature", 1, "--rule", "typical", "--compare", "--repeats", 1)
    assert "departs from the plain law" in outcome.err and "same law" not in outcome.err


CUT = "lighttransfer:keep=0.5,sinks=2,recent=10,last=4"


def test_a_selector_cuts_layers_and_says_so(go: Callable, tmp_path: Path) -> None:
    """A prompt that is too short for it stays the whole model's."""
    for prompt, cut in (("0123456789" * 24, 1), ("abc", 0)):
        outcome = go(prompt, "--selector", CUT, "--json", tmp_path / "out.json")
        report = json.loads((tmp_path / "out.json").read_text())
        [stats] = [generation["stats"] for generation in report["generations"]]
        assert len(stats["cut_layers"]) == cut and (stats["saved_bytes"] > 0) is not report["lossless"]
        assert ("NOT LOSSLESS" in outcome.err) is bool(cut)


@pytest.mark.parametrize(("spec", "code", "complaint"), [
    ("lighttransfr", 2, "Did you mean 'lighttransfer'"), ("lighttransfer:kept=1", 2, "Did you mean 'keep'"),
    ("topk", 2, "scores keys"), ("lighttransfer:layers=[0,7]", 2, "cannot cut layer 7: the layers in full attention are [0, 1]"),
])  # fmt: skip
def test_a_selector_that_does_not_fit_is_one_sentence(go: Callable, spec: str, code: int, complaint: str) -> None:
    outcome = go("0123456789" * 24, "--selector", spec)
    assert outcome.code == code and complaint in outcome.err and outcome.err.count("\n") <= 2


def test_several_texts(go: Callable) -> None:
    outcome = go("abc", "--n", 2, "--temperature", 1, "--seed", 3, "--json", "-")
    assert len(json.loads(outcome.out)["generations"]) == 2


def test_chat_goes_through_the_template(go: Callable) -> None:
    plain, chat = (json.loads(go("hi", *flags, "--json", "-").out)["generations"][0] for flags in ([], ["--chat"]))
    assert chat["prompt_tokens"] == plain["prompt_tokens"] + len("user: \nassistant: ")


def test_dash_reads_standard_input(go: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc abc abc")))
    assert go("-").out == go("abc abc abc").out


def test_threads_are_the_process_s(go: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    assert go("abc", "--threads", 3).code == 0 and asked == [3]
    assert go("abc", "--threads", 100_000).code == 2 and asked == [3]
    refused = go("abc", "--threads", 0)
    assert refused.code == 2 and "--threads must be 1 to 1024; found 0" in refused.err


def test_stop_strings_end_the_text(go: Callable) -> None:
    text = go("abc").out.rstrip("\n")
    assert len(text) > 3
    assert go("abc", "--stop", text[2]).out.rstrip("\n") == text[: text.index(text[2])]


MISTYPED_SPECS = {"Did you mean 'ngram'", "no option 'mx_n'", "Did you mean 'lossless'", "Did you mean 'fixed'"}  # bad usage


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--drafter", "ngrm"], "Did you mean 'ngram'"),
        (["--drafter", "ngram:mx_n=3"], "no option 'mx_n'"),
        (["--rule", "losless"], "Did you mean 'lossless'"),
        (["--rule", "annealed:delta=1.5"], "nothing to relax"),
        (["--controller", "fixd"], "Did you mean 'fixed'"),
        (["--temperature", "-1"], "temperature must be"),
        (["--top-p", "7"], "top_p must be"),
        (["--dtype", "float31"], "Did you mean 'float32'"),
        (["--forward", "fast"], "forward must be"),
        (["--logit-bias", "9999=1"], "9999"),
        (["--json", "/nowhere/at/all.json"], "Cannot write"),
    ],
)
def test_bad_values_are_one_sentence(go: Callable, flags: list[str], complaint: str) -> None:
    outcome = go("abc", *flags)
    assert outcome.code == (2 if complaint in MISTYPED_SPECS else 1)
    assert outcome.err.startswith("paceline: ") and complaint in outcome.err and outcome.err.count("\n") <= 2


@pytest.mark.parametrize("flags", [["--n", "0"], ["--logit-bias", "x"], ["--budget", "4", "--controller", "fixed"]])
def test_bad_usage(go: Callable, flags: list[str]) -> None:
    assert go("abc", *flags).code == 2


def test_unknown_models(paceline_cli: Callable) -> None:
    outcome = paceline_cli("generate", "abc", "--model", "zoo:tyni")
    assert outcome.code == 1 and "zoo" in outcome.err and "Traceback" not in outcome.err


def test_an_empty_prompt(go: Callable) -> None:
    outcome = go("")
    assert outcome.code == 1 and "empty" in outcome.err


def test_a_prompt_beyond_the_context(go: Callable) -> None:
    outcome = go("a" * 600)
    assert outcome.code == 1 and "512" in outcome.err


def test_a_grammar_from_the_command_line(go: Callable, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": ["left", "right"]}')
    assert json.loads(go("abc", "--json-schema", schema).out) in ("left", "right")
    assert json.loads(go("abc", "--json-schema", '{"enum": ["up"]}', "--drafter", "forced").out) == "up"
    assert go("abc", "--choice", "yes", "--choice", "no").out.strip() in ("yes", "no")


@pytest.mark.parametrize(("flags", "said"), [
    (("--regex", "a", "--choice", "b"), "give one"),
    (("--json-schema", "nowhere.json"), "nowhere.json"),
    (("--json-schema", "{oops"), "not JSON"),
])  # fmt: skip
def test_mistaken_grammars_are_usage_errors(go: Callable, flags: tuple[str, ...], said: str) -> None:
    outcome = go("abc", *flags)
    assert outcome.code == 2 and said in outcome.err


def test_a_byte_order_mark_and_half_a_character(paceline_cli: Callable, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": ["yes"]}', encoding="utf-8-sig")
    assert paceline_cli("generate", "x", "--json-schema", schema, "--drafter", "none").out.strip() == '"yes"'
    bad = paceline_cli("generate", "x\udcff", "--drafter", "none")
    assert bad.code != 0 and "valid Unicode" in " ".join(bad.err.split())
