"""Questions about long texts, with answers and a score: the kinds of task that LongBench has (Bai et al. 2023, arXiv 2308.14508),
made of what every Python carries.

One text is the language reference with sentences far apart in it, about which four kinds of question are asked. needle: for a
sentence of a kind of its own. keys: for one of six that differ in a name and a number alone. passage: about one of six people, of
whom something is told. labels: for the kind of a word, after the words with their kinds that are spread over the text. The other
text is files of the library; completion: the next line, which followed the same line some way before. All questions are about the
same text, so that it need be read but once, and end where the answer begins, so that a model can answer that was never taught to
talk.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from paceline.bench.long_prompts import CHARACTERS, THINGS, library, reference
from paceline.errors import DataError, RequestError, did_you_mean

__all__ = ["ASKED_KINDS", "TEXTS", "LongText", "Question", "long_text"]

TEXTS = ("facts", "files")
ASKED_KINDS = ("needle", "keys", "passage", "labels", "completion")
EACH, ASKED = 6, 4  # sentences of a kind; questions
LEAST = 1024  # tokens; below, the facts do not fit into a text
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
    "The baker's cat is called": ("Felix", "Bella", "Simba", "Daisy", "Oliver", "Luna"),
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

    kind: str
    tail: str
    answer: str

    def score(self, written: str) -> float:
        """From 0 to 1: of a completed line how alike the two are, of other answers whether the first word is the right one."""
        if self.kind == "completion":
            return SequenceMatcher(None, written.split("\n")[0].strip(), self.answer, autojunk=False).ratio()
        return float(written.replace(".", " ").replace(",", " ").split()[:1] == [self.answer])


@dataclass(frozen=True)
class LongText:
    """Token ids of a text, and what is asked behind it."""

    tokens: list[int]
    questions: list[Question]


Made = tuple[list[str], list[Question]]  # sentences to be spread over a text, and what is asked


def long_text(name: str, tokens: int, tokenizer: Any, seed: int = 0) -> LongText:
    """A text of exactly so many tokens, questions not counted; another one for each seed. Raises DataError for an unknown name,
    RequestError for too few tokens.
    """
    if name not in TEXTS:
        raise DataError(f"There is no long text {name!r}.{did_you_mean(name, TEXTS)}")
    if tokens < LEAST:
        raise RequestError(f"Expected a text of at least {LEAST} tokens, found {tokens}.")
    lots = random.Random(f"{name}/{seed}")

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    if name == "files":
        text, questions = _files(tokens, lots)
        return LongText(encode(text)[-tokens:], questions)
    made = [make(lots) for make in (_needle, _keys, _passage, _labels)]
    facts = [encode(f"\n{fact}\n") for some, _ in made for fact in some]
    lots.shuffle(facts)
    return LongText(_spread(facts, encode, tokens, lots), [question for _, some in made for question in lots.sample(some, ASKED)])


def _needle(lots: random.Random) -> Made:
    return _repeated([Question("needle", f"\n\n{start}", str(lots.choice(values))) for start, values in NEEDLES.items()])


def _keys(lots: random.Random) -> Made:
    return _repeated([Question("keys", f"\n\nThe secret number of the {thing} is", str(lots.randrange(10_000, 100_000)))
                      for thing in lots.sample(THINGS, EACH)])


def _repeated(questions: list[Question]) -> Made:
    """With the very sentences that the questions begin to repeat."""
    return [f"{question.tail.strip()} {question.answer}." for question in questions], questions


def _passage(lots: random.Random) -> Made:
    facts, questions = list[str](), list[Question]()
    people = zip(*(lots.sample(of, EACH) for of in (NAMES, CITIES, TRADES, PETS)), strict=True)
    for i, (name, city, trade, pet) in enumerate(people):
        first = name.split()[0]
        facts.append(f"{name} was born in {city}. For many years {first} worked as a {trade}, and kept a {pet} in the garden.")
        asked, begun, answer = ((f"Where was {name} born?", "was born in", city),
                                (f"What was the work of {name}?", "worked as a", trade),
                                (f"Which animal did {name} keep?", "kept a", pet))[i % 3]
        questions.append(Question("passage", f"\n\nQuestion: {asked}\nAnswer: {name} {begun}", answer))
    return facts, questions


def _labels(lots: random.Random) -> Made:
    mixed = {sort: lots.sample(words, len(words)) for sort, words in SORTS.items()}
    others = [(word, sort) for sort, words in mixed.items() for word in words[SHOWN:]]
    return ([f"Word: {word}\nKind: {sort}" for sort, words in mixed.items() for word in words[:SHOWN]],
            [Question("labels", f"\n\nWord: {word}\nKind:", sort) for word, sort in others])


def _spread(facts: list[list[int]], encode: Callable[[str], list[int]], tokens: int, lots: random.Random) -> list[int]:
    """Sentences at places by lot in the language reference."""
    text = reference()
    start = text.find("\n", lots.randrange(len(text))) + 1
    rest = encode((text[start:] + text)[: 12 * tokens])[: tokens - sum(map(len, facts))]
    for place, fact in zip(sorted(lots.sample(range(len(rest)), len(facts)), reverse=True), facts, strict=True):
        rest[place:place] = fact
    return rest


def _files(tokens: int, lots: random.Random) -> tuple[str, list[Question]]:
    """Files of the library up to a line, and that line and later ones to be completed, indented already."""
    lines, reach = library().split("\n"), tokens // 24  # lines that are in the text for sure, about
    while True:
        start = lots.randrange(2 * reach, len(lines) - SPAN)
        found = [i for i in range(start, start + SPAN) if _is_told(lines, i, reach)][:ASKED]
        if len(found) == ASKED:
            break
    before = "\n".join(lines[: found[0]])[-CHARACTERS * 6 * tokens :] + "\n"
    questions = []
    for i in found:
        indent = len(lines[i]) - len(answer := lines[i].strip())  # its last space is of the answer's first token
        questions.append(Question("completion", "\n".join([*lines[found[0] : i], " " * (indent - 1)]), answer))
    return before, questions


def _is_told(lines: list[str], i: int, reach: int) -> bool:
    """Whether the line before it has come before, always followed by this one, and not of late."""
    if len(lines[i].strip()) < LINE or not lines[i - 1].strip():
        return False
    places = [k for k in range(i - reach, i) if lines[k - 1] == lines[i - 1]]
    return {lines[k] for k in places} == {lines[i]} and places[-1] < i - reach // 3
