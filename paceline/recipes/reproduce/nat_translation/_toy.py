"""Made-up sentences whose translation may begin or end with the time, for a run that only shows that all works."""

from __future__ import annotations

from pathlib import Path
from random import Random

__all__ = ["toy"]

WHO = {"the dog": "der Hund", "a man": "ein Mann", "the girl": "das Mädchen", "my friend": "mein Freund"}
DOES = {"sees": "sieht", "likes": "mag", "paints": "malt", "finds": "findet"}
WHAT = {"a red house": "ein rotes Haus", "the old car": "das alte Auto", "two birds": "zwei Vögel", "a ball": "einen Ball"}
WHEN = {"today": "heute", "now": "jetzt", "every day": "jeden Tag"}


def toy(folder: Path, counts: dict[str, int]) -> dict[str, str]:
    """Writes for every name so many lines of both languages; returns the files' paths by flag: src, tgt, test_src, test_tgt."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, count in counts.items():
        rng = Random(name)
        for side, lines in zip(("src", "tgt"), zip(*(pair(rng) for _ in range(count)), strict=True), strict=True):
            path = folder / f"{name}{side}.txt"
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            found[f"{name}{side}"] = str(path)
    return found


def pair(rng: Random) -> tuple[str, str]:
    (who, wer), (does, tut), (what, was), (when, wann) = (rng.choice(list(part.items())) for part in (WHO, DOES, WHAT, WHEN))
    return f"{who} {does} {what} {when}", f"{wann} {tut} {wer} {was}" if rng.random() < 0.5 else f"{wer} {tut} {was} {wann}"
