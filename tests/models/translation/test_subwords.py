"""Both languages share subwords; placeholders are single tokens that keep their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import DataError
from paceline.models.translation.config import BOS, EOS, MASK, PAD
from paceline.models.translation.subwords import MARKS, SLOTS, Subwords

TEXTS = ["the house is big", "das Haus ist groß", "open the file %s"] * 9


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return Subwords.trained(TEXTS, 320)


def test_text_comes_back_and_marks_have_their_places(subwords: Subwords, tmp_path: Path) -> None:
    assert [subwords.tokenizer.token_to_id(mark) for mark in MARKS] == [PAD, BOS, EOS, MASK] and len(subwords) <= 320
    subwords.save(tmp_path)
    for text in (*TEXTS[:3], "日本 100% sure, ok?"):
        assert Subwords.load(tmp_path).decode(subwords.encode(text), text) == text
    with pytest.raises(DataError, match="Expected the subwords of a translation model"):
        Subwords.load(tmp_path / "none")


def test_placeholders_are_one_token_each_and_move(subwords: Subwords) -> None:
    source, target = "copy %(old)s to {new} and %(old)s", "nach {new} kopiere %(old)s, %d"
    first, second = (subwords.tokenizer.token_to_id(slot) for slot in SLOTS[:2])
    ids = subwords.encode(source)
    assert ids.count(first) == 2 and ids.count(second) == 1
    moved = subwords.encode(target, source)
    assert [i for i in moved if i in (first, second)] == [second, first]
    assert subwords.decode(moved, source) == target
    assert subwords.decode(moved, "copy %s to %d").startswith("nach %d kopiere %s")
    assert subwords.decode([first, second], "only %s") == "%s"


def test_a_text_that_spells_a_mark_has_its_letters(subwords: Subwords) -> None:
    for text in ("the <pad> house", "<bos><eos> <mask>", "<slot0> is big"):
        ids = subwords.encode(text)
        assert min(ids) >= len(MARKS + SLOTS) and subwords.decode(ids, text) == subwords.decode(ids, "%s") == text
    ids = subwords.encode("<slot0> %s")
    assert subwords.decode(ids, "a %d") == "<slot0> %d"


def test_white_space_is_single_spaces_as_in_the_texts_it_learned_from(subwords: Subwords) -> None:
    assert subwords.encode(" the\u00a0house  is\tbig\r") == subwords.encode("the house is big")
    with pytest.raises(DataError, match="half a surrogate pair"):
        subwords.encode("a \udc80")
