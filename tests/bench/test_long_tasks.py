"""Long texts with questions: exactly so long, with every answer in them, and a score that tells it from the others."""

from __future__ import annotations

from typing import Any

import pytest

import paceline
from paceline.bench.long_tasks import ASKED_KINDS, TEXTS, Question, long_text
from paceline.errors import DataError, RequestError


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return paceline.load("zoo:tiny").tokenizer


@pytest.mark.parametrize("tokens", [1024, 4000])
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_holds_the_answers_and_a_question_ends_before_its_own(name: str, tokens: int, tokenizer: Any) -> None:
    texts = [long_text(name, tokens, tokenizer, seed) for seed in range(3)]
    assert len({tuple(text.tokens) for text in texts}) == 3 and {len(text.tokens) for text in texts} == {tokens}
    assert long_text(name, tokens, tokenizer, 2) == texts[2]
    for text in texts:
        written = tokenizer.decode(text.tokens)
        for question in text.questions:
            assert question.answer in written + question.tail and not question.tail.endswith(question.answer)
            assert question.score(f" {question.answer}\nand so on") == 1.0 and question.score("nothing of the kind") < 0.7


def test_five_kinds_are_asked(tokenizer: Any) -> None:
    texts = [long_text(name, 2000, tokenizer) for name in TEXTS]
    counts = {kind: sum(question.kind == kind for text in texts for question in text.questions) for kind in ASKED_KINDS}
    assert set(counts.values()) == {4}
    written = tokenizer.decode(texts[0].tokens)
    for question in texts[0].questions[:8]:  # needles and keys
        assert written.count(f"{question.tail.strip()} {question.answer}.") == 1
    assert written.count("The secret number of the") == 6 and written.count("Kind: tool") == 6


def test_lines_to_complete_have_come_before_but_not_of_late(tokenizer: Any) -> None:
    text = long_text("files", 2048, tokenizer, 1)
    lines = (tokenizer.decode(text.tokens) + text.questions[-1].tail).split("\n")
    above, answer = lines[-2], text.questions[-1].answer
    after = [i for i in range(1, len(lines) - 1) if lines[i - 1] == above]
    assert {lines[i].strip() for i in after if i >= len(lines) - 2048 // 24} == {answer} and max(after) < len(lines) - 2048 // 72


@pytest.mark.parametrize(("kind", "written", "answer", "found"), [
    ("keys", " 48213.\n", "48213", 1.0), ("keys", " 482130", "48213", 0.0), ("passage", " sailor, and", "sailor", 1.0),
    ("labels", "", "tool", 0.0), ("completion", " return None\nx", "return None", 1.0), ("completion", "\nreturn", "return", 0.0),
])  # fmt: skip
def test_scores(kind: str, written: str, answer: str, found: float) -> None:
    assert Question(kind, "", answer).score(written) == found


def test_bad_requests_are_said() -> None:
    with pytest.raises(RequestError, match="at least 1024 tokens, found 8"):
        long_text("facts", 8, None)
    with pytest.raises(DataError, match="facts"):
        long_text("fact", 2000, None)
