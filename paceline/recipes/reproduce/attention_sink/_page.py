"""The page of the study of sinks: tables, and what the small models say to each of the paper's claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from paceline.recipes.reproduce._record import Mean, mean_of, rendered

__all__ = ["DRAWN", "draw", "written_up"]

Run = dict[str, Any]
# Share of heads that sink on the first token where nothing else is said, in percent (arXiv 2410.10781, tables 2 to 6).
PAPER = {
    "default": "fixed token first: 74.11", "no start token": "18.18", "rate / 10": "a quarter of the rate: 2.90",
    "5,000 bytes of text": "1 % of the text: below 1", "start token second": "second 69.03", "random first": "27.03",
    "random first and second": "1.98, second 14.08", "prefix of 3, no start token": "on one of the three",
    "key bias, no start token": "0.00, extra key 73.34", "sigmoid": "0.44", "sigmoid, normalised": "30.24", "rate x 2": "32.23",
    "decay 0": "15.20", "decay 0.5": "41.08", "decay 5": "0.01", "window of 16": "none below 256",
    "key and value bias": "0.04, extra key 72.76", "value bias": "17.53", "elu + 1": "0.80", "elu + 1, normalised": "53.65",
    "bare product": "0.00",
}  # fmt: skip
DRAWN = ("default", "rate / 10", "no start token", "sigmoid")
KEYS = ("extra key", "first", "second", "third")
# Claim, the setting and the key where sinks should be more, those where fewer (0 is the extra key), the paper's difference.
CLAIMS = (
    ("they emerge in training", "default", 1, "before training", 1, "18.18"),
    ("and not in the first sixteenth of it", "default", 1, "a sixteenth of the training", 1, "none in its first twentieth"),
    ("a small learning rate makes fewer", "default", 1, "rate / 10", 1, "15.28"),
    ("a large one more", "rate x 2", 1, "default", 1, "14.05"),
    ("little text makes fewer", "default", 1, "5,000 bytes of text", 1, "over 17"),
    ("already where its held-out loss is least", "default, then", 1, "5,000 bytes of text, then", 1, "yes"),
    ("a fixed token in front makes more", "default", 1, "no start token", 1, "55.93"),
    ("second, it draws them there", "start token second", 2, "start token second", 1, "69.03"),
    ("a random first token makes more", "random first", 1, "no start token", 1, "8.85"),
    ("two draw them to the second", "random first and second", 2, "random first and second", 1, "12.10"),
    ("a visible prefix takes them from the first", "default", 1, "prefix of 3", 1, "to one of the prefix"),
    ("to the second", "prefix of 3", 2, "default", 2, "to one of the prefix"),
    ("or third", "prefix of 3", 3, "default", 3, "to one of the prefix"),
    ("a key bias takes them", "key bias, no start token", 0, "key bias, no start token", 1, "73.34"),
    ("also from a fixed token", "default", 1, "key bias", 1, "–"),
    ("and holds more than that", "key bias", 0, "key bias", 1, "–"),
    ("so does a key and value bias", "key and value bias", 0, "key and value bias", 1, "72.72"),
    ("a value bias takes next to none", "default", 1, "value bias", 1, "0.65"),
    ("sigmoid has none", "default", 1, "sigmoid", 1, "17.74"),
    ("unless it is normalised", "sigmoid, normalised", 1, "sigmoid", 1, "29.80"),
    ("elu + 1 has fewer than normalised", "elu + 1, normalised", 1, "elu + 1", 1, "52.85"),
    ("the bare product has none", "default", 1, "bare product", 1, "18.18"),
    ("some weight decay makes more", "decay 0.5", 1, "decay 0", 1, "25.88"),
    ("too much ends them", "default", 1, "decay 5", 1, "18.17"),
    ("a short window prevents them", "default", 1, "window of 16", 1, "none below 256"),
)


def written_up(found: dict[str, Any]) -> str:
    """The page."""
    runs: dict[str, list[Run]] = found["runs"]
    seeds = [dict(cases(dict(zip(runs, each, strict=True)))) for each in zip(*runs.values(), strict=True)]
    lines = [[name, *line(runs[name]), PAPER.get(name, "–")] for name in runs]
    steps = [step_line(looks) for looks in zip(*(run["history"] for run in runs["default"]), strict=True)]
    kinds = [[kind, of["texts"], interval(of["sink"]), peak(of["massive"])] for kind, of in found["real"].items()]
    claims = [judged(claim, seeds) for claim in CLAIMS]
    return rendered(__file__, found=found, claims=claims, lines=lines, steps=steps, kinds=kinds)


def cases(runs: dict[str, Run]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is compared within one seed: every setting's last figures, and others on the way."""
    yield from ((name, run["history"][-1]) for name, run in runs.items())
    whole, little = runs["default"]["history"], runs["5,000 bytes of text"]["history"]
    best = min(range(len(little)), key=lambda i: little[i]["loss"])
    begun = [look for look in whole if look["step"] <= whole[-1]["step"] / 16]
    yield from {"before training": whole[0], "a sixteenth of the training": begun[-1], "default, then": whole[best],
                "5,000 bytes of text, then": little[best]}.items()  # fmt: skip


def at(look: dict[str, Any], place: int, name: str = "sink") -> float:
    """A figure of a key in percent; 1 is the first token, 0 the extra key."""
    return 100.0 * look[name][place - 1 + look["extra"]]


def judged(claim: tuple[str, str, int, str, int, str], seeds: list[dict[str, Any]]) -> list[Any]:
    """A line of differences within seeds: of the shares of heads, of mean attention, of the loss."""
    words, more, place, fewer, other, paper = claim
    pairs = [(of[more], of[fewer]) for of in seeds]
    sink, mean = (mean_of([at(a, place, name) - at(b, other, name) for a, b in pairs]) for name in ("sink", "mean"))
    loss = mean_of([a["loss"] - b["loss"] for a, b in pairs])
    return [words, f"{more}: {KEYS[place]}", f"{fewer}: {KEYS[other]}", sink, mean, loss, paper, told(sink)]


def told(difference: Mean) -> str:
    """What the interval says of a difference that should be positive."""
    return "yes" if difference.low > 0 else "the other way" if difference + difference.half < 0 else "not told"


def line(runs: list[Run]) -> list[Mean | str]:
    """Loss; heads on the first, second and extra key; the first's mean attention and strongest head; heads on random bytes."""
    last = [run["history"][-1] for run in runs]
    extra = mean_of([at(look, 0) for look in last]) if last[0]["extra"] else "–"
    lots = mean_of([at(look | {"sink": run["random"]}, 1) for run, look in zip(runs, last, strict=True)])
    loss, first, mean, strongest = step_line(last)[1:]
    return [loss, first, mean_of([at(look, 2) for look in last]), extra, mean, strongest, lots]


def step_line(looks: Sequence[dict[str, Any]]) -> list[Any]:
    """Step, loss, and of the first key the share of heads, the mean attention and the strongest head's."""
    sink, mean = (mean_of([at(look, 1, name) for look in looks]) for name in ("sink", "mean"))
    return [looks[0]["step"], mean_of([look["loss"] for look in looks]), sink, mean,
            mean_of([100 * look["strongest"] for look in looks])]  # fmt: skip


def interval(figure: list[float]) -> str:
    mean, low, high = (100 * value for value in figure)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def peak(layers: list[float]) -> str:
    """The largest ratio, and where."""
    return f"{max(layers):.0f} (layer {layers.index(max(layers))})"


def draw(runs: dict[str, list[Run]], axes: Any) -> None:
    """How the first key's mean attention emerges, seed by seed, and the share of heads that sink on it at the end."""
    for colour, name in enumerate(DRAWN):
        for seed, run in enumerate(runs[name]):
            axes[0].plot([look["step"] for look in run["history"]], [at(look, 1, "mean") for look in run["history"]],
                         color=f"C{colour}", label=None if seed else name)  # fmt: skip
    axes[0].axhline(7.41, color="grey", linestyle=":", label="even attention")
    axes[0].set(xlabel="step", ylabel="mean attention on the first token, %")
    axes[0].legend(fontsize=7)
    ends = {name: mean_of([at(run["history"][-1], 1) for run in many]) for name, many in runs.items()}
    axes[1].barh(list(ends), list(ends.values()), xerr=[mean.bar for mean in ends.values()])
    axes[1].invert_yaxis()
    axes[1].tick_params(axis="y", labelsize=6)
    axes[1].set(xlabel="heads that sink on the first token, %")
