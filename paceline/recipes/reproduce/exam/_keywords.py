"""Made-up texts whose class one keyword decides, wherever it stands, or together with the half of the text it stands in."""

from __future__ import annotations

from random import Random

from paceline.data.labelled import Labelled
from paceline.errors import SpecError, did_you_mean

__all__ = ["PLACES", "TASKS", "keywords"]

TASKS = ("keyword", "keyword and place")
PLACES = (8, 32, 128)  # words in a text
KEYS, NOISE = ("amber", "birch", "cedar", "delta"), 500


def keywords(task: str, n: int, count: int, seed: int) -> Labelled:
    """`count` texts of n words, all of them noise but one keyword at a random place; four classes.

    "keyword": the class is the keyword: whatever pools words can learn it, some the slower the longer the text. "keyword
    and place": two keywords, and for each the halves of the text tell two classes apart, so that what knows no places is right
    for one in two.
    """
    if task not in TASKS:
        raise SpecError(f"There is no task {task!r}.{did_you_mean(task, TASKS)}")
    rng = Random(f"{task} {n} {seed}")
    texts, labels = list[str](), list[tuple[str, ...]]()
    for _ in range(count):
        words, at, kind = [f"w{rng.randrange(NOISE)}" for _ in range(n)], rng.randrange(n), rng.randrange(4)
        key = kind if task == TASKS[0] else kind % 2
        words[at] = KEYS[key]
        texts.append(" ".join(words))
        labels.append((KEYS[key] if task == TASKS[0] else f"{KEYS[key]} {'late' if at >= n // 2 else 'early'}",))
    return Labelled(texts, labels)
