"""The front doors: prompts of every kind in, generations and pieces out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchEncoding

import paceline
from paceline import DataError, Engine, ModelError, Request, RequestError, RequestOptions, Sampling, SpecError
from paceline.api import encode, end_tokens
from paceline.drafters.small_model import SmallModel
from paceline.lm import LM
from paceline.testing import ToyLM, tiny_model
from tests.tiny import nearly

TEXT = "abcabcab"


@pytest.fixture
def chat_lm(model_folder) -> LM:
    return paceline.load(model_folder)


def test_text_ids_and_messages(chat_lm: LM) -> None:
    ids = chat_lm.tokenizer(TEXT)["input_ids"]
    text, tokens = paceline.generate(chat_lm, [TEXT, ids], max_new_tokens=8)
    assert text.tokens == tokens.tokens and text.prompt_tokens == len(ids)
    said = paceline.generate(chat_lm, [{"role": "user", "content": "hi"}], max_new_tokens=4)
    assert len(said) == 1 and said[0].prompt_tokens == len(chat_lm.tokenizer("user: hi\nassistant: ")["input_ids"])
    assert len(paceline.generate(chat_lm, TEXT, max_new_tokens=2)) == len(paceline.generate(chat_lm, ids, max_new_tokens=2)) == 1


def test_several_samples_of_several_prompts_come_in_order(lm: LM) -> None:
    sampling = Sampling(temperature=1.0, seed=5)
    out = paceline.generate(lm, [[5, 6], [7]], n=2, sampling=sampling, max_new_tokens=5)
    assert [g.prompt_tokens for g in out] == [2, 2, 1, 1]
    assert paceline.generate(lm, [7], n=2, sampling=sampling, max_new_tokens=5)[1].tokens == out[3].tokens
    assert paceline.generate(lm, []) == []


BAD = [
    ({"prompts": ""}, RequestError, "empty"),
    ({"prompts": [[]]}, RequestError, "empty"),
    ({"prompts": ["a", ""]}, RequestError, "empty"),
    ({"prompts": "a", "n": 0}, RequestError, "n must"),
    ({"prompts": "a", "n": 1.5}, RequestError, "n must"),
    ({"prompts": "a", "max_new_tokens": -1}, RequestError, "max_new_tokens"),
    ({"prompts": "a", "stop": [""]}, RequestError, "stop"),
    ({"prompts": "a" * 2000}, RequestError, "context is 1024"), ({"prompts": [300]}, RequestError, "token 300"),
    ({"prompts": [{"role": "user", "content": "x"}]}, RequestError, "chat template"),
    ({"prompts": "a", "drafter": "ngarm"}, SpecError, "Did you mean 'ngram'"),
    ({"prompts": "a", "drafter": "ngram:length=0"}, SpecError, "length"),
    ({"prompts": "a", "drafter": "small_model:model=zoo:nothing"}, ModelError, "no zoo model"),
    ({"prompts": "a", "drafter": SmallModel(model=tiny_model(vocab=128))}, ModelError, "tokenizer of the draft model"),
    *(({"prompts": bad}, RequestError, "A prompt must be text") for bad in (None, 5, b"ab", {1, 2}, {"a": 1}, [1.5], [[1, "a"]])),
    ({"prompts": torch.zeros(2)}, RequestError, "A prompt must be text"),
    ({"prompts": {"input_ids": [[5]], "pixel_values": [[0.5]]}}, RequestError, "also holds pixel_values"),
    ({"prompts": {"input_ids": [[5, 6]], "attention_mask": [[1]]}}, RequestError, "as long as input_ids"),
    ({"prompts": "a", "stop": ["\udc80"]}, RequestError, "stop must be valid Unicode"),
    *(({"prompts": "a", "drafter": bad}, SpecError, "drafter must") for bad in (b"ngram", {"a": 1}, SmallModel, tiny_model())),
    ({"prompts": "a", "rule": None}, SpecError, "rule must"), ({"prompts": "a", "controller": 5}, SpecError, "controller must"),
    ({"prompts": "a", "eos": b"ab"}, RequestError, "eos must be token ids"),
    ({"prompts": "a", "tools": 5}, DataError, "expected a list of tools"),
    *(({"prompts": "a", "keep": bad}, RequestError, "keep must hold spans") for bad in (5, [5], ["ab"], [(0.5, 1)])),
    ({"prompts": "a", "tenant": "\udc80"}, RequestError, "tenant must be valid Unicode"),
    ({"prompts": "a", "tools": [{"name": "\udc80"}]}, RequestError, "tools must be valid Unicode"),
    ({"prompts": "a\ud800"}, RequestError, "valid Unicode"),
    ({"prompts": "a", "max_tokens": 5}, RequestError, "Did you mean 'max_new_tokens'"),
    ({"prompts": "a", "max_new_token": 5}, RequestError, "Did you mean 'max_new_tokens'"),
    ({"prompts": "a", "temperature": 1.0}, RequestError, r"sampling=Sampling\(temperature"),
    ({"prompts": "a", "sampling": {"temperature": 1.0}}, RequestError, "must be a Sampling"),
    ({"prompts": "a", "options": {"stop": "a"}}, RequestError, "options must be RequestOptions"),
    ({"prompts": "a", "slots": 0}, RequestError, "slots must"),
    ({"prompts": "a", "drafter": None}, SpecError, "drafter must"),
    ({"prompts": "a", "drafter": 5}, SpecError, "drafter must"),
    ({"prompts": "a", "stop": 5}, RequestError, "stop must"),
    ({"prompts": "a", "eos": "</s>"}, RequestError, "eos must"),
    ({"prompts": "a", "eos": [1.5]}, RequestError, "token id in eos"),
    ({"prompts": "a", "exact": "yes"}, RequestError, "exact must"),
    ({"prompts": "a", "tenant": 5}, RequestError, "tenant must"),
    ({"prompts": "a", "reproducible": 1}, RequestError, "reproducible must"),
]  # fmt: skip


@pytest.mark.parametrize(("keywords", "error", "problem"), BAD, ids=str)
def test_bad_requests(keywords: dict, error: type[Exception], problem: str, lm: LM) -> None:
    with pytest.raises(error, match=problem):
        paceline.generate(lm, **keywords)


def test_without_a_tokenizer_ids_are_needed() -> None:
    toy = ToyLM()
    assert paceline.generate(toy, [1, 2], max_new_tokens=3)[0].text == ""
    with pytest.raises(RequestError, match="no tokenizer"):
        paceline.generate(toy, "text")
    with pytest.raises(RequestError, match="need a tokenizer"):
        next(paceline.stream(toy, [1, 2]))


def test_ends_come_from_the_generation_config_first(lm: LM) -> None:
    assert end_tokens(lm) == {1}
    assert end_tokens(ToyLM()) == frozenset()
    free = paceline.generate(lm, TEXT, max_new_tokens=12, eos=[])[0].tokens
    cut = paceline.generate(lm, TEXT, max_new_tokens=12, eos=[free[4]])[0]
    assert cut.tokens == free[: free.index(free[4]) + 1] and cut.finish_reason == "eos"


DRAFTERS = ["none", "ngram:min_n=1,worth=0", "small_model"]


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("limits", [{}, {"stop": "cut"}, {"eos": "cut"}], ids=["free", "stop", "eos"])
def test_pieces_join_to_what_generate_writes(drafter: str, limits: dict, lm: LM) -> None:
    made = SmallModel(model=nearly(lm), length=4, worth=0.0) if drafter == "small_model" else drafter
    free = paceline.generate(lm, TEXT, max_new_tokens=30, eos=[])[0]
    limits = {"stop": {"stop": free.text[9:12]}, "eos": {"eos": free.tokens[9:10]}}[next(iter(limits))] if limits else {}
    whole = paceline.generate(lm, TEXT, drafter=made, max_new_tokens=30, **limits)[0]
    pieces = list(paceline.stream(lm, TEXT, drafter=made, max_new_tokens=30, **limits))
    assert "".join(p.text for p in pieces) == pieces[-1].generation.text == whole.text
    assert [t for p in pieces for t in p.tokens] == whole.tokens
    assert all(p.generation is None for p in pieces[:-1]) and all(len(p.tokens) == len(p.drafted) for p in pieces)
    assert sum(d for p in pieces for d in p.drafted) == whole.stats.accepted
    assert any(span.drafted for p in pieces for span in p.spans) == (whole.stats.accepted > 0)
    assert pieces[-1].generation.finish_reason == whole.finish_reason


def test_half_characters_are_not_shown(lm: LM) -> None:
    """A random byte model under sampling writes many."""
    sampling = Sampling(temperature=2.0, seed=2)
    pieces = list(paceline.stream(lm, TEXT, sampling=sampling, max_new_tokens=80, eos=[]))
    assert "".join(p.text for p in pieces) == paceline.generate(lm, TEXT, sampling=sampling, max_new_tokens=80, eos=[])[0].text
    assert any(not p.text for p in pieces)


def test_closing_a_stream_cancels_its_request(lm: LM) -> None:
    engine = Engine(lm, "ngram", slots=1)
    pieces = paceline.stream(lm, TEXT, engine=engine, max_new_tokens=50)
    next(pieces)
    row = engine.rows[0]
    pieces.close()
    assert row.finish_reason == "cancelled" and not engine.rows and not engine.kv.active


def test_a_kept_engine_reuses_the_chat_so_far(lm: LM) -> None:
    engine = Engine(lm, slots=1, max_cached=1)
    first = list(paceline.stream(lm, TEXT, engine=engine, max_new_tokens=10, eos=[]))[-1].generation
    longer = [*lm.tokenizer(TEXT)["input_ids"], *first.tokens, 70]
    second = list(paceline.stream(lm, longer, engine=engine, max_new_tokens=10, eos=[]))[-1].generation
    assert second.stats.reused == len(longer) - 2
    assert second.tokens == paceline.generate(lm, longer, max_new_tokens=10, eos=[])[0].tokens


@pytest.mark.parametrize("slots", [1, 3])
def test_streams_of_one_engine_are_read_in_turns(slots: int, chat_lm: LM) -> None:
    prompts, lengths = ["abc", "b" * 9, "cab"], [5, 14, 9]
    engine = Engine(chat_lm, "ngram:min_n=1,worth=0", slots=slots)
    open_ones = {prompt: paceline.stream(chat_lm, prompt, engine=engine, max_new_tokens=n, eos=[])
                 for prompt, n in zip(prompts, lengths, strict=True)}
    pieces = {prompt: [] for prompt in prompts}
    while open_ones:
        for prompt, stream in list(open_ones.items()):
            if (piece := next(stream, None)) is None:
                del open_ones[prompt]
            else:
                pieces[prompt].append(piece)
    for prompt, n in zip(prompts, lengths, strict=True):
        wanted, last = paceline.generate(chat_lm, prompt, max_new_tokens=n, eos=[])[0], pieces[prompt][-1].generation
        assert last is not None and [t for piece in pieces[prompt] for t in piece.tokens] == last.tokens == wanted.tokens
        assert "".join(piece.text for piece in pieces[prompt]) == last.text == wanted.text


FORMS = {
    "answer": lambda ids: BatchEncoding({"input_ids": ids, "attention_mask": [1] * len(ids)}),
    "padded": lambda ids: BatchEncoding({"input_ids": torch.tensor([[2, *ids]]),
                                         "attention_mask": torch.tensor([[0] + [1] * len(ids)])}),
    "tensor": torch.tensor, "row": lambda ids: torch.tensor([ids]), "array": np.array, "numbers": lambda ids: list(np.array(ids)),
    "generator": lambda ids: (i for i in ids), "scalars": lambda ids: list(torch.tensor(ids)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_ids_in_every_form(form: str, lm: LM) -> None:
    plain = paceline.generate(lm, [7, 8, 9], max_new_tokens=5)[0].tokens
    out = paceline.generate(lm, FORMS[form]([7, 8, 9]), max_new_tokens=np.int64(5))
    streamed = list(paceline.stream(lm, FORMS[form]([7, 8, 9]), max_new_tokens=5))[-1].generation
    assert len(out) == 1 and out[0].tokens == streamed.tokens == plain


def test_texts_in_an_array_and_requests_for_an_engine(lm: LM) -> None:
    plain = [g.tokens for g in paceline.generate(lm, ["ab", "cd"], max_new_tokens=5)]
    assert [g.tokens for g in paceline.generate(lm, np.array(["ab", "cd"]), max_new_tokens=5)] == plain
    assert Engine(lm).run([Request(torch.tensor([5]), max_new_tokens=2)])[0].prompt_tokens == 1
    with pytest.raises(RequestError, match="decodes a Request"):
        Engine(lm).run(["ab"])
    with pytest.raises(RequestError, match="must be token ids"):
        Request("ab")


def test_a_stream_takes_its_own_models_engine(lm: LM, chat_lm: LM) -> None:
    for engine in (Engine(chat_lm), 5):
        with pytest.raises(RequestError, match="engine must be an Engine of the very LM"):
            next(paceline.stream(lm, "ab", engine=engine))


def test_forms_of_options(lm: LM) -> None:
    free = paceline.generate(lm, TEXT, max_new_tokens=8, eos=[])[0].tokens
    for end in (torch.tensor([free[3]]), torch.tensor(free[3]), {free[3]}):
        assert paceline.generate(lm, TEXT, max_new_tokens=8, eos=end)[0].finish_reason == "eos"
    tool = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    for tools in (tool, {"tools": [tool]}, (t for t in [tool])):
        assert RequestOptions(tools=tools).tools == [tool]
    once = RequestOptions(max_new_tokens=8, eos=[free[3]], sampling=Sampling(seed=1))
    named = [paceline.generate(lm, TEXT, options=once, **more)[0] for more in ({}, {"eos": []}, {"max_new_tokens": 2, "eos": []})]
    assert named[0].tokens[-1] == free[3] and [len(g.tokens) for g in named[1:]] == [8, 2]
    guided = [paceline.generate(lm, TEXT, max_new_tokens=4, guidance=scale)[0].tokens for scale in (2, np.float32(2))]
    assert guided[0] == guided[1]


CHATS = [
    ([{"content": "x"}], {}, r"messages\[0\] must be a message"),
    ([{"role": "user"}], {}, r"messages\[0\].content must be text"),
    ([{"role": "user", "content": None}], {}, r"messages\[0\].content must be text"),
    ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], {}, r"messages\[0\].content must be text"),
    ([{"role": "user", "content": "\udcff"}], {}, "valid Unicode"),
    ([{"role": "user", "content": "x"}], {"tools": [{"name": "f", "parameters": {}}], "describe_tools": False}, "knows no tools"),
]


@pytest.mark.parametrize(("messages", "options", "said"), CHATS)
def test_bad_chats(messages: list, options: dict[str, Any], said: str, chat_lm: LM) -> None:
    with pytest.raises(RequestError, match=said):
        paceline.generate(chat_lm, messages, **options)
    with pytest.raises(RequestError, match=said):
        next(paceline.stream(chat_lm, messages, **options))


def test_a_template_that_refuses_and_content_in_parts(chat_lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}]
    assert encode(chat_lm, parts) == encode(chat_lm, [{"role": "user", "content": "hi"}])
    monkeypatch.setattr(chat_lm.tokenizer, "chat_template", "{{ raise_exception('System role not supported') }}")
    with pytest.raises(RequestError, match=r"refuses these messages \(roles: user\): System role not supported"):
        encode(chat_lm, parts)


def test_the_generation_config_is_named_once_and_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model()
    plain = paceline.generate(LM(model, forward="stock"), [5, 6], max_new_tokens=8, eos=[])[0].tokens
    model.generation_config.repetition_penalty = 1.8
    lm = LM(model, forward="stock")
    assert [paceline.generate(lm, [5, 6], max_new_tokens=8, eos=[])[0].tokens for _ in range(2)] == [plain] * 2
    assert sum("repetition_penalty=1.8" in note for note in lm.notes) == caplog.text.count("repetition_penalty=1.8") == 1


def test_special_tokens_stay_where_asked(lm: LM) -> None:
    out = [paceline.generate(lm, TEXT, sampling=Sampling(logit_bias={2: 1e4}), max_new_tokens=2, special_tokens=keep)[0].text
           for keep in (False, True)]
    assert out == ["", "<|pad|><|pad|>"]


def test_what_is_no_model_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for bad in ("runs/last", "./x", "/no/such/folder", "a/b/c"):
        with pytest.raises(ModelError, match="no file or folder"):
            paceline.load(bad)
    with pytest.raises(ModelError, match="Expected a model's name"):
        paceline.load(3)
    for bad, said in (({"device": "gpu"}, "device 'gpu'"), ({"dtype": 5}, "no dtype 5")):
        with pytest.raises(ModelError, match=said):
            paceline.load("zoo:tiny-draft", **bad)


def test_a_model_says_what_it_is(lm: LM) -> None:
    assert all(part in repr(lm) for part in ("float32", lm.forward_name, "vocabulary 259"))
