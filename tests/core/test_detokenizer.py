"""From tokens to text: pieces add up to the whole, and nothing is shown that may still change."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from paceline.core.detokenizer import UNFINISHED, Detokenizer, Span
from paceline.testing import toy_tokenizer

BYTES = toy_tokenizer()


def word_pieces() -> PreTrainedTokenizerFast:
    """Marks a word's beginning with ▁ and drops the first space, as SentencePiece models do; tokens alone decode differently."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat and the dog sat on the log"] * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


PIECES = word_pieces()


def pieces(detokenizer: Detokenizer, tokens: list[int]) -> list[str]:
    shown = []
    for token in tokens:
        if detokenizer.add(token):
            break
        shown.append(detokenizer.take())
    detokenizer.finish()
    return [*shown, detokenizer.take(final=True)]


@given(st.text(max_size=30))
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(Detokenizer(BYTES), BYTES.encode(text))) == text


@given(st.lists(st.integers(0, 258), max_size=40))
def test_pieces_of_any_bytes_join_to_the_full_decode(tokens: list[int]) -> None:
    whole = BYTES.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces(Detokenizer(BYTES), tokens)) == whole


def test_pieces_of_words_join_with_their_spaces() -> None:
    tokens = PIECES.encode("the dog sat on the cat")
    assert "".join(pieces(Detokenizer(PIECES), tokens)) == "the dog sat on the cat"


@given(st.text(min_size=1, max_size=12))
def test_no_piece_shows_half_a_character(text: str) -> None:
    shown = pieces(Detokenizer(BYTES), BYTES.encode(text))
    assert UNFINISHED in text or all(UNFINISHED not in piece for piece in shown)
    assert [text.startswith("".join(shown[: i + 1])) for i in range(len(shown))] == [True] * len(shown)


@settings(max_examples=200)
@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_text_ends_before_the_first_stop_string(text: str, stops: list[str]) -> None:
    """The first to be complete wins, and what was shown before never takes part in it."""
    detokenizer = Detokenizer(BYTES, stops)
    shown = pieces(detokenizer, BYTES.encode(text))
    end = next((i for i in range(len(text) + 1) if any(s in text[:i] for s in stops)), None)
    expected = text if end is None else text[: min(text[:end].find(s) for s in stops if s in text[:end])]
    assert "".join(shown) == detokenizer.text == expected
    assert detokenizer.stopped == (end is not None)


HELD = [("xENx", ["x", "", "", "ENx"]), ("xEN", ["x", "", "", "EN"]), ("xaaab", ["x", "", "", "a", "aab"])]


@pytest.mark.parametrize(("text", "shown"), HELD)
def test_the_longest_tail_that_may_become_a_stop_is_held_back(text: str, shown: list[str]) -> None:
    detokenizer = Detokenizer(BYTES, ["END.", "aac"])
    out = pieces(detokenizer, BYTES.encode(text))
    assert [p for p in out if p] == [p for p in shown if p] and out[: len(shown) - 1] == shown[:-1]


@pytest.mark.parametrize("text", ["é", "☂", "𝄞"])
def test_an_unfinished_character_is_shown_once_it_is_final(text: str) -> None:
    tokens = BYTES.encode(text)[:-1]
    detokenizer = Detokenizer(BYTES)
    for token in tokens:
        detokenizer.add(token)
        assert detokenizer.take() == ""
    assert detokenizer.finish() == detokenizer.take(final=True) == BYTES.decode(tokens)


def test_the_first_token_keeps_the_space_after_the_prompt() -> None:
    """As stock's stop strings see it."""
    prompt, tokens = PIECES.encode("the dog"), PIECES.encode("sat on the cat")
    detokenizer = Detokenizer(PIECES, after=prompt)
    assert "".join(pieces(detokenizer, tokens)) == Detokenizer(PIECES, after=prompt).whole(tokens) == " sat on the cat"
    stopped = Detokenizer(PIECES, [" sat"], prompt)
    assert pieces(stopped, tokens)[-1] == "" and stopped.stopped and stopped.text == ""


def test_a_prompt_that_ends_within_a_character_takes_nothing_from_the_text() -> None:
    first, *rest = BYTES.encode("é!")
    assert Detokenizer(BYTES, after=[first]).whole(rest) == BYTES.decode(rest)


@pytest.mark.parametrize("stop", ["<|pad|>", "b<|pad|>", "<|pad|>cd"])
@pytest.mark.parametrize("special", [False, True])
def test_a_stop_string_may_name_a_special_token(stop: str, special: bool) -> None:
    text = "a<|bos|>bb<|pad|>cde"
    detokenizer = Detokenizer(BYTES, [stop], special=special)
    shown = "".join(pieces(detokenizer, BYTES.encode(text)))
    expected = text[: text.index(stop)]
    assert detokenizer.stopped
    assert shown == detokenizer.text == (expected if special else expected.replace("<|bos|>", ""))


@pytest.mark.parametrize("text", ["👩\u200d👩\u200d👧\u200d👦", "e\u0301🏳️\u200d🌈"])
def test_joined_emoji_stream_whole(text: str) -> None:
    assert "".join(pieces(Detokenizer(BYTES), BYTES.encode(text))) == text


@given(st.lists(st.tuples(st.integers(97, 122), st.booleans()), max_size=40), st.integers(1, 5),
       st.sampled_from([(), ("never there",)]))
def test_every_character_knows_whether_it_was_drafted(marked: list[tuple[int, bool]], step: int, stop: tuple[str, ...]) -> None:
    """Also where it is held back, or several come at once."""
    detokenizer, spans = Detokenizer(BYTES, stop), list[Span]()
    for i, (byte, drafted) in enumerate(marked):
        detokenizer.add(*BYTES.encode(chr(byte)), drafted)
        spans += detokenizer.spans() if i % step == 0 else []
    detokenizer.finish()
    spans += detokenizer.spans(final=True)
    assert "".join(span.text for span in spans) == "".join(chr(byte) for byte, _ in marked)
    assert [span.drafted for span in spans for _ in span.text] == [drafted for _, drafted in marked]


def test_a_character_of_several_tokens_is_drafted_where_all_of_them_were() -> None:
    for marks, drafted in (([True] * 3, True), ([True, False, True], False)):
        detokenizer = Detokenizer(BYTES)
        for token, mark in zip(BYTES.encode("€"), marks, strict=True):
            assert detokenizer.spans() == [] and not detokenizer.add(token, mark)
        assert detokenizer.spans() == [Span("€", drafted)]
