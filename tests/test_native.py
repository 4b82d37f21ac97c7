"""The transformers-native door gives what `model.generate` gives, in its types, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    DynamicCache,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
    TextIteratorStreamer,
)
from transformers.generation.logits_process import MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.generation.utils import GenerateDecoderOnlyOutput

import paceline
from paceline import ModelError, RequestError, Sampling, native
from paceline.native_rows import sampling_of
from paceline.testing import tiny_model, toy_tokenizer

TOKENIZER = toy_tokenizer()
MODEL = tiny_model()
DRAFTERS = ["none", "ngram:min_n=1,worth=0"]
DOOR = paceline.accelerate(DRAFTERS[1])
NEW = 16


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What this test's calls have left to transformers."""
    fresh: set[str] = set()
    monkeypatch.setattr(native, "noted", fresh)
    return fresh


def inputs(*texts: str) -> dict[str, torch.Tensor]:
    return dict(TOKENIZER(list(texts), return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False))


def both(drafter: str, given: dict[str, Any], options: dict[str, Any] | None = None, **keywords: Any) -> tuple[Any, Any]:
    """(what transformers writes, what we write)."""
    keywords = {"max_new_tokens": NEW, "do_sample": False, **keywords}
    return (MODEL.generate(**given, **keywords),
            MODEL.generate(**given, **keywords, custom_generate=paceline.accelerate(drafter, **(options or {}))))


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("texts", [("abcabcab",), ("abcabcab", "x", "hello hello he")], ids=["one", "left-padded"])
def test_greedy_sequences_are_equal(texts: tuple[str, ...], drafter: str) -> None:
    theirs, ours = both(drafter, inputs(*texts))
    assert torch.equal(theirs, ours)


def test_ends_pad_like_transformers() -> None:
    free = MODEL.generate(**inputs("abcabcab", "x"), max_new_tokens=NEW, do_sample=False)
    ends = [int(free[0, 12]), int(free[1, 18])]
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab", "x"), eos_token_id=ends, pad_token_id=2)
    assert torch.equal(theirs, ours)


def test_a_dict_is_returned_where_asked_with_all_its_fields() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab"), return_dict_in_generate=True, output_scores=True)
    assert type(ours) is GenerateDecoderOnlyOutput and torch.equal(theirs.sequences, ours.sequences)
    assert ours.past_key_values.get_seq_length() == 8 + NEW - 1 and len(ours.scores) == NEW


def test_sampling_repeats_with_torch_s_seed() -> None:
    def run(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        given = inputs("abcabcab", "abcabcab")
        door = paceline.accelerate(DRAFTERS[1])
        return MODEL.generate(**given, do_sample=True, top_k=20, max_new_tokens=NEW, custom_generate=door).tolist()

    assert run(1) == run(1) != run(2)
    assert run(1)[0] != run(1)[1]


class NoSpaces(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.index_fill(1, torch.tensor([35]), -torch.inf)


PROCESSED: list[dict[str, Any]] = [
    {"repetition_penalty": 1.5},
    {"no_repeat_ngram_size": 2},
    {"bad_words_ids": [[70], [90]]},
    {"min_new_tokens": 10},
    {"suppress_tokens": list(range(100, 200))},
]


def test_processors_map_to_sampling_or_are_kept_whole() -> None:
    def mapped(**config: Any) -> Sampling:
        config = GenerationConfig(do_sample=True, **config)
        return sampling_of(MODEL._get_logits_processor(config, input_ids_seq_length=1, device="cpu"), seed=0)

    ours = mapped(temperature=0.7, top_k=9, top_p=0.8, min_p=0.1, repetition_penalty=1.2)
    assert (ours.temperature, ours.top_k, ours.top_p, ours.min_p, ours.repetition_penalty) == (0.7, 9, 0.8, 0.1, 1.2)
    assert not ours.processors and ours.seed is not None
    kept = mapped(temperature=0.7, top_k=9, no_repeat_ngram_size=2)
    assert len(kept.processors) == 3 and (kept.temperature, kept.top_k) == (1.0, 0)
    assert sampling_of([], seed=None).greedy
    for option in (TopPLogitsWarper(0.9, min_tokens_to_keep=3), MinPLogitsWarper(0.1, filter_value=-9.0), TopPLogitsWarper(0.0),
                   RepetitionPenaltyLogitsProcessor(2.0, prompt_ignore_length=21)):
        assert len(sampling_of([option], seed=0).processors) == 1


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("config", PROCESSED, ids=lambda config: next(iter(config)))
def test_greedy_with_processors_is_equal(config: dict[str, Any], drafter: str) -> None:
    theirs, ours = both(drafter, inputs("abcabcab", "x"), **config)
    assert torch.equal(theirs, ours)


def test_a_processor_of_the_user_s_own() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab"), logits_processor=LogitsProcessorList([NoSpaces()]))
    assert torch.equal(theirs, ours)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_stop_strings_with_the_tokenizer_bound(drafter: str) -> None:
    free = MODEL.generate(**inputs("abcabcab"), max_new_tokens=NEW, do_sample=False)[0, 8:]
    texts = [TOKENIZER.decode(free[i : i + 2]) for i in range(4, 14)]
    stop = next(t for t in texts if len(t) == 2 and "\ufffd" not in t)
    criteria = StoppingCriteriaList([StopStringCriteria(TOKENIZER, [stop])])
    theirs, ours = both(drafter, inputs("abcabcab"), {"tokenizer": TOKENIZER}, stopping_criteria=criteria)
    assert torch.equal(theirs, ours) and ours.shape[1] < 8 + NEW
    bound = {"tokenizer": TOKENIZER, "stop_strings": [stop]}
    assert torch.equal(both(drafter, inputs("abcabcab"), bound)[1], theirs)
    assert torch.equal(both(drafter, inputs("abcabcab"), stopping_criteria=criteria)[1], theirs)
    with pytest.raises(RequestError, match="tokenizer"):
        paceline.accelerate(drafter, stop_strings=stop)


class AfterLength(StoppingCriteria):
    """Ends each row at a length, padding included, as criteria see it."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **keywords: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length)


def test_criteria_of_the_user_s_own() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab", "x"), stopping_criteria=StoppingCriteriaList([AfterLength(13)]))
    assert torch.equal(theirs, ours) and ours.shape[1] == 13


class Collector:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.tokens += value.flatten().tolist()

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_a_streamer_gets_the_same_tokens(drafter: str) -> None:
    theirs, ours = Collector(), Collector()
    keywords = {**inputs("abcabcab"), "max_new_tokens": NEW, "do_sample": False}
    MODEL.generate(**keywords, streamer=theirs)
    MODEL.generate(**keywords, custom_generate=paceline.accelerate(drafter, streamer=ours))
    assert ours.tokens == theirs.tokens and ours.ended


@pytest.mark.parametrize("texts", [("abcabcab",), ("abcabcab", "x")], ids=["one", "batch"])
def test_a_streamer_of_generate_is_served_too(texts: tuple[str, ...]) -> None:
    theirs, ours = Collector(), Collector()
    keywords = {**inputs(*texts), "max_new_tokens": NEW, "do_sample": False}
    MODEL.generate(**keywords, streamer=theirs)
    MODEL.generate(**keywords, streamer=ours, custom_generate=DOOR)
    assert ours.tokens == theirs.tokens and ours.ended


def test_the_reader_of_a_streamer_never_waits_for_ever() -> None:
    streamer = TextIteratorStreamer(TOKENIZER, timeout=5)
    with pytest.raises(ModelError, match="guidance_scale"):
        MODEL.generate(**inputs("ab"), max_new_tokens=4, guidance_scale=2.0, streamer=streamer,
                       custom_generate=paceline.accelerate(strict=True))
    assert "".join(streamer) == "ab"
    streamer = TextIteratorStreamer(TOKENIZER, timeout=5)
    with pytest.raises(ModelError, match="Streamers"):
        MODEL.generate(**inputs("ab"), max_new_tokens=4, streamer=streamer,
                       custom_generate=paceline.accelerate(streamer=Collector()))
    assert "".join(streamer) == "ab"


class Counting(LogitsProcessor):
    """Looks at the number of its calls, at the padding and at its row's number, as no draft may be allowed to show."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        ids = [(self.calls + 7 * row + int((line == 2).sum())) % scores.shape[1] for row, line in enumerate(input_ids)]
        return torch.full_like(scores, -torch.inf).scatter(1, torch.tensor(ids)[:, None], 0.0)


def shared_option() -> dict[str, Any]:
    return {"logits_processor": LogitsProcessorList([TopPLogitsWarper(0.9, filter_value=-5.0), TemperatureLogitsWarper(1.5)])}


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "warpers without sampling": shared_option,
    "a processor with state": lambda: {"logits_processor": LogitsProcessorList([Counting()])},
    "an option of a penalty": lambda: {"logits_processor": LogitsProcessorList(
        [RepetitionPenaltyLogitsProcessor(3.0, prompt_ignore_length=6)])},
    "a penalty beside others": lambda: {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_length": 14},
    "a constraint by row": lambda: {"prefix_allowed_tokens_fn": lambda row, ids: [60 + row, 70 + len(ids) + row]},
    "two limits": lambda: {"stopping_criteria": StoppingCriteriaList([MaxLengthCriteria(11)])},
    "no end token": lambda: {"stopping_criteria": StoppingCriteriaList([AfterLength(13)]), "eos_token_id": None},
    "positions": lambda: {"position_ids": torch.arange(8)[None] * 2},
    "holes": lambda: {"attention_mask": torch.tensor([[1, 0, 1, 1, 0, 1, 1, 1]] * 2)},
    "a right end": lambda: {"attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1, 0, 0]] * 2)},
}


@pytest.mark.parametrize("texts", [("abcabcab",), ("abcabcab", "xyx")], ids=["one", "padded"])
@pytest.mark.parametrize("what", ROWS)
def test_what_looks_at_rows_and_their_places_sees_them_as_in_transformers(what: str, texts: tuple[str, ...]) -> None:
    given = [{**inputs(*texts), **ROWS[what]()} for _ in range(2)]
    for each in given:
        each["attention_mask"] = each["attention_mask"][: len(texts)]
    theirs, ours = (MODEL.generate(**each, max_new_tokens=NEW, do_sample=False, **door)
                    for each, door in zip(given, ({}, {"custom_generate": DOOR}), strict=True))
    assert torch.equal(theirs, ours)


def test_a_class_that_the_user_vouches_for_is_drafted(notes: set[str]) -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab", "xyx"), {"row_wise": [NoSpaces], "strict": True},
                        logits_processor=LogitsProcessorList([NoSpaces()]))
    assert torch.equal(theirs, ours) and not notes


def test_a_cache_that_is_handed_in_is_filled_and_gone_on_with() -> None:
    caches = [DynamicCache(config=MODEL.config) for _ in range(2)]
    for texts in ("abcabc", "abcabcabcabcabcabc"):
        theirs, ours = (MODEL.generate(**inputs(texts), past_key_values=cache, max_new_tokens=4, **door)
                        for cache, door in zip(caches, ({}, {"custom_generate": DOOR}), strict=True))
        assert torch.equal(theirs, ours)
        assert caches[0].get_seq_length() == caches[1].get_seq_length() > 0


def embedded(model: Any, text: str) -> torch.Tensor:
    return model.get_input_embeddings()(inputs(text)["input_ids"]).detach()


def gpt2(**changes: Any) -> Any:
    return tiny_model("gpt2", **changes)


INPUTS: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "ids and other embeddings": lambda: (MODEL, {**inputs("abcabc"), "inputs_embeds": embedded(MODEL, "hellos")}),
    "embeddings alone": lambda: (MODEL, {"inputs_embeds": embedded(MODEL, "hello")}),
    "token types": lambda: (gpt2(), {**inputs("abcabc"), "token_type_ids": torch.tensor([[5, 5, 5, 9, 9, 9]])}),
    "an encoder's states": lambda: (gpt2(add_cross_attention=True),
                                    {**inputs("abcabc"), "encoder_hidden_states": torch.ones(1, 3, 64)}),
    "keys longer than values": lambda: (tiny_model(
        "deepseek_v3", n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, first_k_dense_replace=1, n_group=1,
        topk_group=1, n_shared_experts=1, kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=12,
        num_key_value_heads=4), inputs("abcabc")),
    "beyond the context": lambda: (tiny_model(max_position_embeddings=12), inputs("abcabcab")),
    "dropout": lambda: (gpt2().train(), inputs("abcabc")),
}


@pytest.mark.parametrize("what", INPUTS)
def test_what_a_model_is_given_beside_a_text_is_not_lost(what: str) -> None:
    model, given = INPUTS[what]()
    written = []
    for door in ({}, {"custom_generate": DOOR}):
        torch.manual_seed(0)
        written.append(model.generate(**given, max_new_tokens=8, do_sample=False, **door))
    assert torch.equal(*written)


def test_two_pictures_give_two_texts() -> None:
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
              "patch_size": 4}
    text = tiny_model("gemma3_text").config.to_dict()
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=200,
                          boi_token_index=201, eoi_token_index=202)
    torch.manual_seed(0)
    model, ids = Gemma3ForConditionalGeneration(config).eval(), torch.tensor([[5, 200, 200, 200, 200, 70, 71]])
    given = {"input_ids": ids, "token_type_ids": (ids == 200).long(), "max_new_tokens": 6, "do_sample": False}
    for picture in torch.randn(2, 1, 3, 8, 8):
        theirs, ours = (model.generate(**given, pixel_values=picture, **door) for door in ({}, {"custom_generate": DOOR}))
        assert torch.equal(theirs, ours)


def test_what_is_not_decoded_here_is_named_once_a_process(notes: set[str], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        MODEL.generate(**inputs("abc"), max_new_tokens=2, num_beams=2, custom_generate=DOOR)
    assert [r.getMessage() for r in caplog.records if "num_beams" in r.getMessage()] and notes == {"num_beams"}
    assert len([r for r in caplog.records if r.name == "paceline"]) == 1
    with pytest.raises(ModelError, match="num_beams"):
        MODEL.generate(**inputs("abc"), max_new_tokens=2, num_beams=2, custom_generate=paceline.accelerate(strict=True))


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(RequestError, match="reproducible"):
        paceline.accelerate(reproducable=True)


@torch.no_grad()
def scale(model: Any) -> None:
    model.model.layers[0].mlp.down_proj.weight.mul_(-2.0)


def steer(model: Any) -> None:
    model.model.layers[1].register_forward_hook(lambda module, given, out: out * -1.0)


def wrap(model: Any) -> None:
    plain = model.model.layers[0].mlp.forward
    model.model.layers[0].mlp.forward = lambda x: -plain(x)


def merge(model: Any) -> None:
    model.model.layers[0].mlp.down_proj.weight.data -= 0.5


def assign(model: Any) -> None:
    model.load_state_dict({k: v * -2.0 for k, v in model.state_dict().items()}, assign=True)


def turn(model: Any) -> None:
    model.model.rotary_emb.inv_freq.mul_(-40.0)


def prune(model: Any) -> None:
    model.model.layers[0].mlp = torch.nn.Identity()


@pytest.mark.parametrize("change", [scale, steer, wrap, merge, assign, turn, prune], ids=lambda change: change.__name__)
def test_whatever_changes_in_a_model_counts_at_the_next_call(change: Callable[[Any], None]) -> None:
    model, door = tiny_model(seed=3), paceline.accelerate("none")
    keywords = {**inputs("abcabc"), "max_new_tokens": 8, "do_sample": False}
    before = model.generate(**keywords, custom_generate=door)
    assert torch.equal(before, model.generate(**keywords))
    change(model)
    after = model.generate(**keywords)
    assert torch.equal(model.generate(**keywords, custom_generate=door), after) and not torch.equal(before, after)
