"""BanditSpec (arXiv 2505.15141): rounds lost while learning which arm is best, and how fast a change is followed.

Four parts. *Regret* with simulated arms: rounds beyond the best arm's, whose number is known exactly, at texts of 128 to 32,768
tokens, every text learned anew as in the paper. *Switch*, simulated too: the best arm changes at half time. *Batches*, the
last simulated part: draft lengths as arms while more rows are decoded together. *Decoding*: drafters as arms on a real target,
alone and chosen by the controllers, on four kinds of text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paceline.bench import run as bench
from paceline.errors import RequestError
from paceline.recipes.reproduce._record import picture, write_record
from paceline.recipes.reproduce.banditspec._batch_sizes import batches
from paceline.recipes.reproduce.banditspec._drafter_arms import decoded
from paceline.recipes.reproduce.banditspec._page import REFERENCE, WINDOW, draw, written_up
from paceline.recipes.reproduce.banditspec._simulated_arms import Arms, attached, microseconds, play, switched

__all__ = ["Config", "run"]

# The released code adds the same bonus to every arm, which moves no argmax: it is the best mean after a try of each arm.
POLICIES = {"uniform": "uniform", "ucb": "ucb", "quarter": "ucb:scale=0.25", "exp3": "exp3", "released": "ucb:scale=0"}
SETS = {"four": Arms((0.5, 0.6, 0.7, 0.8), 4), "deep": Arms((0.3, 0.5, 0.6, 0.85), 8)}
MARKS = {"four": (128, 512, 2048, 8192, 32768), "deep": (128, 512, 2048, 8192)}
BEFORE, AFTER, HALF = Arms((0.8, 0.5, 0.5, 0.3), 4), Arms((0.3, 0.5, 0.5, 0.8), 4), 1000
FOLLOWERS = {
    "UCBSpec": "ucb", "scale 0.25": "ucb:scale=0.25", "scale 0.25, discount 0.98": "ucb:scale=0.25,discount=0.98",
    "scale 0.25, window 100": "ucb:scale=0.25,window=100", "EXP3Spec": "exp3",
}  # fmt: skip
ENOUGH = 0.75  # share of a window with the best arm that counts as being back


@dataclass(frozen=True)
class Config:
    """Options of the run. It needs no data."""

    out: Path = Path("benchmarks/reproduce")  # Receives banditspec.json, .md and .png.
    runs: int = 400  # Texts for every policy and set of arms.
    seed: int = 0  # Of the simulated rewards.
    prompts: int = 6  # Of each kind of text, for the real target.
    tokens: int = 256  # That it adds to each.
    grow: float = 100.0  # Millions of parameters of the grown target.
    fast: bool = False  # Few and short texts, and a target that is not grown, to see that all works.


def run(config: Config) -> Path:
    """Simulate, compare and write the record; returns the page's path. Raises RequestError for values that are too small."""
    if config.runs < 2 or not 1 <= config.prompts <= 15 or config.tokens < 1:
        raise RequestError(f"Expected runs of at least 2 (for a standard error), 1 to 15 prompts and tokens of at least 1; found "
                           f"{config.runs}, {config.prompts} and {config.tokens}.")
    runs = min(config.runs, 12) if config.fast else config.runs
    found: dict[str, Any] = {"runs": runs, "seed": config.seed}
    found["microseconds"] = {name: microseconds(spec, 8, 2_000 if config.fast else 20_000) for name, spec in POLICIES.items()}
    found["regret"] = {name: regrets(config, name, runs) for name in SETS}
    found["checks"] = {"compared": compared(found["regret"]), "growth": growth(found["regret"]["four"])}
    found["switch"] = {name: follows(config, spec, runs) for name, spec in FOLLOWERS.items()}
    found["batches"] = batches(*((40, 2) if config.fast else (400, 20)))
    found["decoding"] = decoding(config)
    page = config.out / "banditspec.md"
    write_record(config.out, "banditspec", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 3)
    return page


def decoding(config: Config) -> dict[str, Any]:
    """The part on a real target."""
    grow, prompts, tokens = (None, 1, 12) if config.fast else (config.grow, config.prompts, config.tokens)
    return decoded(bench.target(bench.Config(grow=grow)), prompts, tokens) | {"grow": grow}


# -- regret -----------------------------------------------------------------------------------------------------------------


def regrets(config: Config, name: str, runs: int) -> dict[str, dict[int, dict[str, float]]]:
    """Policy -> tokens -> rounds lost. One text passes all marks, so marks share their chance, and so do policies."""
    arms, marks = SETS[name], [m for m in MARKS[name] if m <= 2048 or not config.fast]
    best, found = arms.rounds(marks[-1])[marks], {}
    for policy, spec in POLICIES.items():
        controller = attached(spec, arms)
        played = [play(controller, arms, marks, row, config.seed) for row in range(runs)]
        rounds = np.array([[mark.rounds for mark in text] for text in played])
        pulls = np.array([[mark.pulls for mark in text] for text in played])
        found[policy] = {mark: figures(rounds[:, i] - best[i], pulls[:, i] @ arms.gaps) for i, mark in enumerate(marks)}
    return found


def figures(lost: np.ndarray, identity: np.ndarray) -> dict[str, float]:
    """Rounds beyond the best arm's, mean and standard error; the same by what every pull loses on average (`identity`), and how
    many standard errors of their difference lie between.
    """
    difference = lost - identity
    return {"lost": float(lost.mean()), "error": standard_error(lost), "identity": float(identity.mean()),
            "identity_error": standard_error(identity), "apart": float(abs(difference.mean()) / standard_error(difference))}


def standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def compared(regret: dict[str, Any]) -> list[dict[str, Any]]:
    """Every reference value with ours; it holds within 10 % or three standard errors."""
    wanted = [(arms, policy, tokens, value) for arms, policies in REFERENCE.items()
              for policy, values in policies.items() for tokens, value in values.items()]
    return [{"arms": arms, "policy": policy, "tokens": tokens} | against(regret[arms][policy][tokens], value)
            for arms, policy, tokens, value in wanted if tokens in regret[arms][policy]]


def against(figure: dict[str, float], wanted: float) -> dict[str, Any]:
    lost, error = figure["lost"], figure["error"]
    return {"lost": lost, "error": error, "reference": wanted, "ratio": lost / wanted,
            "holds": bool(abs(lost - wanted) <= max(0.1 * wanted, 3 * error))}


def growth(regret: dict[str, Any]) -> dict[str, float]:
    """Policy -> rounds lost at 32,768 over those at 2,048 tokens."""
    return {policy: marks[32768]["lost"] / marks[2048]["lost"] for policy, marks in regret.items() if 32768 in marks}


# -- a change of the best arm -----------------------------------------------------------------------------------------------


def follows(config: Config, spec: str, runs: int) -> dict[str, Any]:
    """Share of rounds with the best arm over time, rounds until it is back, and tokens lost behind the change."""
    half, controller = (300 if config.fast else HALF), attached(spec, BEFORE)
    played = np.stack([switched(controller, BEFORE, AFTER, half, row, config.seed) for row in range(runs)])
    best = np.repeat([np.argmax(BEFORE.means), np.argmax(AFTER.means)], half)
    share = (played == best).reshape(runs, -1, WINDOW).mean(2)  # [runs, windows]
    late = share[:, half // WINDOW :] >= ENOUGH
    back = np.where(late.any(1), (late.argmax(1) + 1) * WINDOW, half)
    lost = (AFTER.means.max() - AFTER.means)[played[:, half:]].sum(1)
    return {"share": share.mean(0).tolist(), "back": float(np.median(back)), "within": np.quantile(back, [0.1, 0.9]).tolist(),
            "lost": float(lost.mean()), "lost_error": standard_error(lost)}
