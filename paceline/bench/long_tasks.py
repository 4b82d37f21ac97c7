"""Questions about long texts, with answers and a score: the kinds of task that LongBench has (Bai et al. 2023, arXiv 2308.14508),
made of what every Python carries.

needle: six sentences that stand far apart in the language reference, each of a kind of its own; one is asked for. keys: six that
differ in a name and a number alone. passage: six people, of whom something is told, and asked in a question. labels: words with
their kinds, spread over the text; the kinds of other words are asked for. completion: the next line of a file, which followed the
same line some way before. A text is asked all its questions, so that it need be read but once, and a question ends where its
answer begins, so that a model can answer that was never taught to talk.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from paceline.bench.long_prompts import CHARACTERS, THINGS, library, reference
from paceline.errors import DataError, RequestError, did_you_mean

__all__ = ["TASK_KINDS", "LongTask", "Question", "long_task", "score"]

ASKED = 6  # questions of a text
LEAST = 384  # tokens; below, its sentences do not fit into a text
SPAN, LINE = 40, 16  # lines of a file in which lines to complete are looked for; characters that one has at least
NAMES = ("Maria Keller", "Anton Weiss", "Clara Novak", "Peter Lund", "Irene Costa", "Oscar Blum", "Nina Ferro", "Hugo Brandt")
CITIES = ("Lisbon", "Vienna", "Dublin", "Oslo", "Prague", "Naples", "Geneva", "Havana")
TRADES = ("clockmaker", "gardener", "violinist", "carpenter", "surgeon", "sailor", "painter", "baker")
PETS = ("parrot", "tortoise", "rabbit", "monkey", "canary", "donkey", "ferret", "goose")
NEEDLES: dict[str, Sequence[Any]] = {
    "The password of the old mill is": ("granite", "willow", "copper", "falcon", "velvet", "lantern"),
    "The night train to Vienna leaves from platform": range(100, 1000),
    "The winning ticket of the lottery has the number": range(100_000, 1_000_000),
    "The cake of Aunt Clara needs exactly": range(100, 1000),
    "The baker's cat is called": ("Clara", "Oscar", "Nina", "Hugo", "Irene", "Anton"),
    "The treasure is buried under the": ("oak", "bridge", "chapel", "fountain", "stairs", "tower"),
}
SORTS = {
    "animal": ("sparrow", "otter", "badger", "lizard", "heron", "beetle", "hamster", "dolphin"),
    "plant": ("oak", "fern", "tulip", "cactus", "maple", "clover", "ivy", "daisy"),
    "tool": ("hammer", "chisel", "pliers", "saw", "wrench", "drill", "shovel", "ladder"),
    "food": ("bread", "cheese", "noodles", "soup", "rice", "pancake", "honey", "salad"),
}
SHOWN = 6  # words of a sort whose sort is told


@dataclass(frozen=True)
class Question:
    """What is put behind a text, and how an answer has to begin."""

    tail: str
    answer: str


@dataclass(frozen=True)
class LongTask:
    """Token ids of a text, and what is asked behind it."""

    kind: str
    tokens: list[int]
    questions: list[Question]


Made = tuple[list[str], list[Question]]  # sentences to be spread over a text, and what is asked


def long_task(kind: str, tokens: int, tokenizer: Any, seed: int = 0) -> LongTask:
    """A text of exactly so many tokens, questions not counted; another one for each seed. Raises DataError for an unknown kind,
    RequestError for too few tokens.
    """
    if kind not in TASK_KINDS:
        raise DataError(f"There is no long task {kind!r}.{did_you_mean(kind, TASK_KINDS)}")
    if tokens < LEAST:
        raise RequestError(f"Expected a text of at least {LEAST} tokens, found {tokens}.")
    lots = random.Random(f"{kind}/{seed}")

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    if kind == "completion":
        text, questions = _completion(tokens, lots)
        return LongTask(kind, encode(text)[-tokens:], questions)
    facts, questions = MAKERS[kind](lots)
    lots.shuffle(facts)
    return LongTask(kind, _spread([encode(f"\n{fact}\n") for fact in facts], encode, tokens, lots), questions)


def score(kind: str, written: str, answer: str) -> float:
    """From 0 to 1: of a completed line how alike the two are, of other answers whether it was given."""
    if kind == "completion":
        return SequenceMatcher(None, written.split("\n")[0].strip(), answer, autojunk=False).ratio()
    return float(written.replace(".", " ").replace(",", " ").split()[:1] == [answer])


def _needle(lots: random.Random) -> Made:
    questions = [Question(f"\n\n{start}", str(lots.choice(values))) for start, values in NEEDLES.items()]
    return [f"{question.tail.strip()} {question.answer}." for question in questions], questions


def _keys(lots: random.Random) -> Made:
    questions = [Question(f"\n\nThe secret number of the {thing} is", str(lots.randrange(10_000, 100_000)))
                 for thing in lots.sample(THINGS, ASKED)]
    return [f"{question.tail.strip()} {question.answer}." for question in questions], questions


def _passage(lots: random.Random) -> Made:
    facts, questions = list[str](), list[Question]()
    for i, (name, city, trade, pet) in enumerate(zip(*(lots.sample(of, ASKED) for of in (NAMES, CITIES, TRADES, PETS)),
                                                     strict=True)):
        facts.append(f"{name} was born in {city}. For many years {name.split()[0]} worked as a {trade}, and kept a {pet} in the "
                     "garden.")
        asked, begun, answer = ((f"Where was {name} born?", "was born in", city),
                                (f"What was the work of {name}?", "worked as a", trade),
                                (f"Which animal did {name} keep?", "kept a", pet))[i % 3]
        questions.append(Question(f"\n\nQuestion: {asked}\nAnswer: {name} {begun}", answer))
    return facts, questions


def _labels(lots: random.Random) -> Made:
    mixed = [(word, sort) for sort, words in SORTS.items() for word in lots.sample(words, len(words))]
    shown = [one for i, one in enumerate(mixed) if i % len(SORTS["animal"]) < SHOWN]
    asked = lots.sample([one for one in mixed if one not in shown], ASKED)
    return ([f"Word: {word}\nKind: {sort}" for word, sort in shown],
            [Question(f"\n\nWord: {word}\nKind:", sort) for word, sort in asked])


def _spread(facts: list[list[int]], encode: Callable[[str], list[int]], tokens: int, lots: random.Random) -> list[int]:
    """Sentences at places by lot in the language reference."""
    text = reference()
    start = text.find("\n", lots.randrange(len(text))) + 1
    rest = encode((text[start:] + text)[: 12 * tokens])[: tokens - sum(map(len, facts))]
    for place, fact in zip(sorted(lots.sample(range(len(rest)), len(facts)), reverse=True), facts, strict=True):
        rest[place:place] = fact
    return rest


def _completion(tokens: int, lots: random.Random) -> tuple[str, list[Question]]:
    """Files of the library up to a line, and that line and later ones to be completed, indented already."""
    lines, reach = library().split("\n"), tokens // 24  # lines that are in the text for sure, about
    while True:
        start = lots.randrange(2 * reach, len(lines) - SPAN)
        found = [i for i in range(start, start + SPAN) if _is_told(lines, i, reach)][:ASKED]
        if len(found) > ASKED // 2:
            break
    before = "\n".join(lines[: found[0]])[-CHARACTERS * 6 * tokens :] + "\n"
    questions = []
    for i in found:
        indent = len(lines[i]) - len(answer := lines[i].strip())  # its last space is of the answer's first token
        questions.append(Question("\n".join([*lines[found[0] : i], " " * (indent - 1)]), answer))
    return before, questions


def _is_told(lines: list[str], i: int, reach: int) -> bool:
    """Whether the line before it has come before, always followed by this one, and not of late."""
    if len(lines[i].strip()) < LINE or not lines[i - 1].strip():
        return False
    places = [k for k in range(i - reach, i) if lines[k - 1] == lines[i - 1]]
    return {lines[k] for k in places} == {lines[i]} and places[-1] < i - reach // 3


MAKERS: dict[str, Callable[[random.Random], Made]] = {"needle": _needle, "keys": _keys, "passage": _passage, "labels": _labels}
TASK_KINDS = (*MAKERS, "completion")
