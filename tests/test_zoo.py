"""The embedded models: they load, fit together, and draft without changing a token; all of them stay small."""

import json
from functools import lru_cache

import pytest

import paceline
from paceline.errors import ModelError
from paceline.lm import LM
from paceline.lm.load import ZOO, zoo_names

PAIR = "small_model:model=zoo:tiny-draft"
HEADS = {"tiny-glide": "glide", "tiny-longspec": "longspec"}
PROMPTS = [
    "def binary_search(",
    "The history of the",
    [{"role": "user", "content": "Tom has 3 apples and buys 4 more. How many apples does he have?"}],
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self",
]
TOOLS = [
    {"type": "function", "function": {"name": "find_table", "description": "Finds a free table.", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"]}}},
]


@lru_cache
def target(dtype: str) -> LM:
    return paceline.load("zoo:tiny", dtype=dtype)


def test_the_zoo_is_small_and_complete() -> None:
    assert set(zoo_names()) == {"tiny", "tiny-draft", *HEADS}
    assert sum(p.stat().st_size for p in ZOO.rglob("*") if p.is_file()) < 40e6
    for name in zoo_names():
        assert (ZOO / name / "README.md").read_text(encoding="utf-8").strip()
        config = json.loads((ZOO / name / "config.json").read_text())
        assert config.get("model_type") == "llama" or config["speculators_model_type"] == HEADS[name]
        if name in HEADS:
            assert (ZOO / name / "model.safetensors").stat().st_size < 6e6
            with pytest.raises(ModelError, match=f"--drafter {HEADS[name]}:model=zoo:{name}"):
                paceline.load(f"zoo:{name}")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("drafter", [PAIR, "ngram", "glide", "longspec", "cape:inner=glide,bins=paper", "cape:inner=longspec"])
def test_drafts_change_no_token(dtype: str, drafter: str) -> None:
    lm = target(dtype)
    if dtype == "bf16" and not lm.exact:
        pytest.skip(lm.why_not_exact)
    plain = paceline.generate(lm, PROMPTS, max_new_tokens=48)
    drafted = paceline.generate(lm, PROMPTS, max_new_tokens=48, drafter=drafter, slots=3)
    assert [g.tokens for g in drafted] == [g.tokens for g in plain]
    assert not any(g.stats.failures for g in drafted)


def test_the_draft_model_earns_its_keep() -> None:
    found = paceline.generate(target("fp32"), PROMPTS, max_new_tokens=48, drafter=f"{PAIR},length=4,worth=0")
    assert sum(g.stats.new_tokens for g in found) / sum(g.stats.rounds for g in found) > 1.6


@pytest.mark.parametrize("head", ["glide", "longspec"])
def test_a_head_is_accepted_more_often_than_the_draft_model(head: str) -> None:
    lengths = []
    for drafter in (f"{head}:length=4,worth=0", f"{PAIR},length=4,worth=0"):
        found = paceline.generate(target("fp32"), PROMPTS, max_new_tokens=48, drafter=drafter)
        lengths.append(sum(g.stats.new_tokens for g in found) / sum(g.stats.rounds for g in found))
    assert lengths[0] > lengths[1]


def test_a_chat_with_tools_calls_one() -> None:
    ask = [{"role": "user", "content": "Find a free table for 4 people in Lisbon."}]
    [out] = paceline.generate(target("fp32"), ask, tools=TOOLS, max_new_tokens=80)
    assert out.finish_reason == "eos"
    body = out.text.split("<tool_call>")[1].split("</tool_call>")[0]
    assert json.loads(body)["name"] == "find_table"
