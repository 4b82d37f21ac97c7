"""Replays against decoding with a model, what a file may hold, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paceline.core.request import Request
from paceline.engine import Engine
from paceline.errors import DataError, ModelError, RequestError
from paceline.lm import LM
from paceline.lm.load import load_tokenizer
from paceline.replay import replay as module
from paceline.replay.lm import Known, ReplayLM
from paceline.replay.recording import Record, read_recorded
from paceline.replay.replay import Config, decode, engine, figures, replay, target
from paceline.replay.report import caption, rows, show, sources
from paceline.testing import toy_tokenizer

CALL = '{"name": "add_alarm", "arguments": {"token": "o9i8", "time": "07:00"}}'
FREE = ["ngram:worth=0,min_n=1", "suffix:worth=0"]


@pytest.fixture(scope="module")
def words() -> Any:
    return load_tokenizer("zoo:tiny")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def lines(*records: Any) -> Path:
        path = tmp_path / "r.jsonl"
        path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records), encoding="utf-8")
        return path

    return lines


@pytest.mark.parametrize("spec", FREE)
def test_a_replay_counts_what_decoding_with_the_model_counts(lm: LM, spec: str) -> None:
    prompts = [[*b"ab ab ab"], [*b"hello hello"], [*b"one two one two one"]]
    asked = [Request(p, max_new_tokens=n) for p, n in zip(prompts, (60, 41, 23), strict=True)]
    plain = [out.tokens for out in Engine(lm, exact=False).run(asked)]
    records = [Record(tuple(p), tuple(tokens)) for p, tokens in zip(prompts, plain, strict=True)]
    real, played = Engine(lm, spec, exact=False), target(records, toy_tokenizer(), 0.05)
    replaying = engine(played, spec, None)
    for record in records:
        ours, theirs = decode(replaying, played, record), decode(real, SimpleNamespace(), record)  # type: ignore[arg-type]
        assert ours.identical and theirs.identical
        for name in ("rounds", "drafted", "accepted", "new_tokens", "accepted_per_position", "drafted_per_position", "sources"):
            assert getattr(ours.stats, name) == getattr(theirs.stats, name), name
    assert sum(map(len, plain)) == 124


@pytest.mark.parametrize("spec", ["none", *FREE, "recycle:worth=0", "merge:drafters=[suffix,ngram],worth=0"])
def test_every_drafter_without_a_model_writes_the_recorded_text_in_a_vocabulary_of_any_size(spec: str) -> None:
    largest = 2**31 - 2  # one round's logits would fill tens of gigabytes
    output = [largest, 5, 6, 7, 8] * 6
    records = [Record((5, 6), tuple(output), frozenset({9})), Record((5, 6, 7), (8, largest, 5, 9), frozenset({9}))]
    lm = target(records, toy_tokenizer(), 0.05)
    drafting = engine(lm, spec, None)
    done = [decode(drafting, lm, record) for record in records]
    assert all(d.identical and not d.stats.failures for d in done) and done[0].stats.new_tokens == 30
    assert (done[0].stats.rounds == 30) == (spec == "none")


def test_a_wrong_target_is_noticed(monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]) -> None:
    path = write({"prompt": [5, 6], "output": [7, 8, 9]})
    assert replay(Config(str(path)))["drafters"]["ngram"]["identical"] == 1.0
    monkeypatch.setattr(Known, "argmax", lambda self, dim: module.np.zeros(len(self.next), int))
    assert replay(Config(str(path)))["drafters"]["ngram"]["identical"] == 0.0


def test_the_target_knows_what_follows_each_node() -> None:
    from paceline.core.proposal import Proposal

    lm = ReplayLM(None, 100, 50, text=[1, 2, 3, 4, 9])
    kv = lm.cache()
    slot = kv.take()
    lm.prefill(kv, slot, [1])
    tree = Proposal([3, 7, 4, 3, 9, 5], [-1, -1, 0, 1, 2, 4], [False] * 6, ["x"] * 6)
    [known] = lm.score(kv, [slot], [2], [tree])
    assert known.next == [3, 4, None, 9, None, None, None] and known.shape == (7, 100)
    assert known.argmax(-1).tolist()[:2] == [3, 4] and known.topk(8).indices.tolist()[:3] == [[3], [4], []]


def test_stores_grow_over_records_and_tenants_stay_apart(write: Callable[..., Path]) -> None:
    same = {"prompt": "Set it.", "output": CALL}
    for found in replay(Config(str(write(same, same)), ("suffix:worth=0", "toolcall:worth=0")))["drafters"].values():
        assert found["by_half"]["second"]["target_forwards"] < found["by_half"]["first"]["target_forwards"] / 2
        assert found["by_tenant"] == {}
    two = write(same | {"tenant": "a"}, same | {"tenant": "b"})
    apart = replay(Config(str(two), ("suffix:worth=0",)))["drafters"]["suffix:worth=0"]
    assert apart["by_tenant"]["a"] == apart["by_tenant"]["b"] and set(apart["by_tenant"]) == {"a", "b"}


def test_prompts_outputs_and_their_ends(words: Any, write: Callable[..., Path]) -> None:
    end, turn_end = words.eos_token_id, words.convert_tokens_to_ids("<|im_end|>")
    messages = [{"role": "user", "content": "hi"}]
    tools = [{"name": "now", "parameters": {"type": "object", "properties": {}}}]
    path = write(
        {"prompt": "hi", "output": "there"},
        "",
        {"messages": messages, "tools": tools, "output": "there<|im_end|>\nmore"},
        {"prompt": [1, 2], "output": [3, end, 4], "tenant": "t"},
    )
    text, chat, ids = read_recorded(path, words)
    assert words.decode(text.output) == "there<|eos|>" and text.ends == {end}
    assert text.prompt == tuple(words("hi")["input_ids"])
    assert words.decode(chat.output) == "there<|im_end|>" and chat.ends == {end, turn_end} and chat.tools == tuple(tools)
    assert '<tools>\n{"name": "now"' in words.decode(chat.prompt) and words.decode(chat.prompt).endswith("assistant\n")
    assert ids == Record((1, 2), (3, end, 4), tenant="t")
    assert read_recorded(path, words, limit=1) == [text]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "a"}, "line 2: expected the field 'output'; found ['prompt']."),
        ({"output": "a"}, "line 2: expected one of the fields 'prompt' and 'messages'; found ['output']."),
        ({"prompt": "a", "messages": [], "output": "b"}, "line 2: expected one of the fields 'prompt' and 'messages'"),
        ({"prompt": "a", "output": ""}, "line 2: expected 'output' to be text or a list, and not empty; found ''."),
        ({"prompt": 3, "output": "b"}, "line 2: expected 'prompt' to be text or a list, and not empty; found 3."),
        ({"prompt": "a", "output": [1, -1]}, "line 2: expected 'output' to be text or token ids; found '-1' in it."),
        ({"messages": ["hi"], "output": "b"}, "line 2: messages[0] must be a message"),
        ({"messages": "hi", "output": "b"}, "line 2: Expected messages, a list of {\"role\": …"),
        ({"messages": [{"content": "hi"}], "output": "b"}, "line 2: messages[0] must be a message"),
        ({"messages": [{"role": "user", "content": 3}], "output": "b"}, "line 2: messages[0].content must be text"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "url": "a"}]}], "output": "b"},
         "line 2: messages[0].content must be text, or a list of parts of type text; found [{"),
        ('{"prompt": "\\udc80", "output": "b"}', "line 2: expected whole characters"),
        ({"prompt": "a", "output": "b", "tenant": 3}, "line 2: expected 'tenant' to be text; found 3."),
        ({"prompt": "a", "output": "b", "tools": ["f"]}, "line 2: expected 'tools' to be a list of JSON objects; found"),
        ("{", "line 2: expected JSON, found '{'"),
    ],
)
def test_broken_records_name_the_line(words: Any, write: Callable[..., Path], record: Any, message: str) -> None:
    path = write({"prompt": "a", "output": "b"}, record)
    with pytest.raises(DataError) as error:
        read_recorded(path, words)
    assert message in str(error.value) and str(error.value).startswith(str(path))


def test_messages_need_a_template_and_a_file_needs_records(write: Callable[..., Path]) -> None:
    path = write({"messages": [{"role": "user", "content": "hi"}], "output": "b"})
    with pytest.raises(DataError, match="line 1: .*no chat template"):
        read_recorded(path, toy_tokenizer())
    with pytest.raises(DataError, match="holds no records"):
        read_recorded(write(""), toy_tokenizer())


@pytest.mark.parametrize(
    "spec", ["glide", "longspec", "small_model:model=zoo:tiny-draft", "cape", "merge:drafters=[ngram,glide]"]
)
def test_drafters_with_a_model_are_refused(write: Callable[..., Path], spec: str) -> None:
    with pytest.raises(RequestError, match="needs a model, and a replay has none"):
        replay(Config(str(write({"prompt": "a", "output": "b"})), ("ngram", spec)))


def test_figures_add_up(write: Callable[..., Path]) -> None:
    path = write(*({"prompt": f"Wake me at {n}.", "output": CALL} for n in range(5)))
    ticks: list[int] = []
    report = replay(Config(str(path), ("none", "suffix", "recycle"), budget=4), ticks.append)
    plain, suffix, recycle = report["drafters"].values()
    assert ticks == [15] * 15
    assert report["output_tokens"] == plain["new_tokens"] == plain["target_forwards"] == suffix["new_tokens"]
    assert plain["acceptance_length_interval"] == [1.0, 1.0] and plain["acceptance_rate"] is None
    low, high = suffix["acceptance_length_interval"]
    assert 1 < low <= suffix["acceptance_length"] == suffix["new_tokens"] / suffix["target_forwards"] <= high <= 5
    assert sum(s["accepted"] for s in suffix["sources"].values()) == suffix["num_accepted_tokens"]
    assert 0 <= suffix["num_accepted_tokens"] + suffix["target_forwards"] - suffix["new_tokens"] <= 5, "a text may end in a draft"
    assert suffix["draft_seconds_per_token"] > 0 and "topk_logits" in recycle["notes"][0] and not suffix["notes"]
    assert [len(row) for row in rows(report)] == [9, 9, 9] and {row[0] for row in sources(report)} == {"suffix", "recycle"}
    assert "assumed" in caption(report) and json.dumps(report)


def test_a_difference_is_shown(capsys: pytest.CaptureFixture[str], write: Callable[..., Path]) -> None:
    report = replay(Config(str(write({"prompt": [5], "output": [6, 7]}))))
    show(report)
    assert "DIFFER" not in capsys.readouterr().out
    report["drafters"]["ngram"]["identical"] = 0.5
    show(report)
    assert "50.0% of the outputs DIFFER" in capsys.readouterr().out


def test_one_record_has_no_halves() -> None:
    lm = ReplayLM(None, 10, 100)
    done = decode(engine(lm, "none", None), lm, Record((1,), (2, 3)))
    assert figures([done])["by_half"] == {} and figures([done] * 2)["by_half"]["first"]["records"] == 1


@pytest.mark.parametrize("wrong", [{"token_cost": 1.0}, {"token_cost": -0.1}, {"limit": 0}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="must be at least"):
        Config("x.jsonl", **wrong)


def test_no_tokenizer_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Cannot load a tokenizer"):
        load_tokenizer(str(tmp_path))


def test_the_command(paceline_cli: Callable, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write({"prompt": "a b a b", "output": "a b a b a b"})
    outcome = paceline_cli("bench", "--replay", path, "--token-cost", "0", "--json", tmp_path / "out.json")
    said = " ".join(outcome.out.split())  # lines break where the width of the terminal says
    assert outcome.code == 0 and "tokens per forward" in said and "no model ran" in said
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["settings"]["token_cost"] == 0 and report["drafters"]["ngram"]["acceptance_length"] > 1
    refused = paceline_cli("bench", "--replay", path, "--drafter", "glide")
    assert refused.code == 1 and "needs a model" in refused.err and "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--replay", "x", "--against", "transformers"), "--against"),
        (("--replay", "x", "--max-new-tokens", 5), "--max-new-tokens"),
        (("--replay", "x", "--no-packed"), "--packed"),
        (("--tokenizer", "zoo:tiny"), "--replay"),
        (("--token-cost", 0.1), "--replay"),
    ],
)
def test_flags_that_do_not_go_together(paceline_cli: Callable, flags: tuple, said: str) -> None:
    outcome = paceline_cli("bench", *flags)
    assert outcome.code == 2 and said in outcome.err
