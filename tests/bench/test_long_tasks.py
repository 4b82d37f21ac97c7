"""Long texts with questions: exactly so long, with every answer in them, and a score that tells it from the others."""

from __future__ import annotations

import pytest

import paceline
from paceline.bench.long_tasks import TASK_KINDS, long_task, score
from paceline.errors import DataError, RequestError


@pytest.mark.parametrize("tokens", [384, 2048])
@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_text_holds_the_answers_and_a_question_ends_before_its_own(kind: str, tokens: int) -> None:
    tokenizer = paceline.load("zoo:tiny").tokenizer
    tasks = [long_task(kind, tokens, tokenizer, seed) for seed in range(3)]
    assert len({tuple(task.tokens) for task in tasks}) == 3 and {len(task.tokens) for task in tasks} == {tokens}
    assert long_task(kind, tokens, tokenizer, 2) == tasks[2]
    for task in tasks:
        text = tokenizer.decode(task.tokens)
        assert 4 <= len(task.questions) <= 6
        for question in task.questions:
            assert question.answer in text + question.tail and not question.tail.endswith(question.answer)
            assert score(kind, f" {question.answer}\nand so on", question.answer) == 1.0
            assert score(kind, "nothing of the kind", question.answer) < 0.7


def test_a_needle_is_there_once_and_keys_differ_in_a_name_and_a_number() -> None:
    tokenizer = paceline.load("zoo:tiny").tokenizer
    for kind in ("needle", "keys"):
        task = long_task(kind, 1000, tokenizer)
        text = tokenizer.decode(task.tokens)
        assert all(text.count(f"{q.tail.strip()} {q.answer}.") == 1 for q in task.questions)
    assert text.count("The secret number of the") == len({q.answer for q in task.questions}) == 6


def test_lines_to_complete_have_come_before_but_not_of_late() -> None:
    tokenizer = paceline.load("zoo:tiny").tokenizer
    task = long_task("completion", 2048, tokenizer, 1)
    lines = (tokenizer.decode(task.tokens) + task.questions[-1].tail).split("\n")
    above, answer = lines[-2], task.questions[-1].answer
    after = [i for i in range(1, len(lines) - 1) if lines[i - 1] == above]
    assert {lines[i].strip() for i in after if i > len(lines) - 128} == {answer} and max(after) < len(lines) - 25


@pytest.mark.parametrize(("kind", "written", "answer", "found"), [
    ("keys", " 48213.\n", "48213", 1.0), ("keys", " 482130", "48213", 0.0), ("passage", " sailor, and", "sailor", 1.0),
    ("labels", "", "tool", 0.0), ("completion", " return None\nx", "return None", 1.0), ("completion", "\nreturn", "return", 0.0),
])  # fmt: skip
def test_scores(kind: str, written: str, answer: str, found: float) -> None:
    assert score(kind, written, answer) == found


def test_bad_requests_are_said() -> None:
    with pytest.raises(RequestError, match="at least 384 tokens, found 8"):
        long_task("needle", 8, None)
    with pytest.raises(DataError, match="needle"):
        long_task("nedle", 1000, None)
