"""What was measured of drafters with one model on one machine, in a file: a controller that reads it need not begin from nothing.

`paceline doctor --save FILE` writes it, `controller="cost:calibration=FILE"` reads it. It holds for this model, number format,
forward, processor and number of threads only, and says so itself.
"""

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paceline import plugins
from paceline.errors import DataError, PacelineError

__all__ = ["Measured", "identity", "known", "processor", "read_calibration", "unlike", "write_calibration"]

FORMAT = "paceline-calibration-1"
Key = tuple[str, frozenset[tuple[str, str]], int]


@dataclass(frozen=True)
class Measured:
    """One drafter (its spec; "none" with budget 0 = plain decoding) with one node budget: mean tokens a round, seconds a round,
    and seconds of catching up for each token of a text that it meets.
    """

    drafter: str
    budget: int
    tokens: float
    seconds: float
    catching: float = 0.0

    @property
    def key(self) -> Key:
        """The same for every way to write the spec."""
        name, options = plugins.parse(self.drafter)
        return name, frozenset(options.items()), self.budget


def identity(lm: Any) -> dict[str, Any]:
    """What a measurement holds for: the model by its fingerprint, how it is run, and the machine."""
    return {
        "fingerprint": lm.fingerprint, "parameters": lm.parameters, "dtype": str(lm.dtype).removeprefix("torch."),
        "forward": lm.forward_name, "device": lm.device.type, "processor": processor(),
        "accelerator": torch.cuda.get_device_name() if lm.device.type == "cuda" else None, "threads": torch.get_num_threads(),
    }  # fmt: skip


def processor() -> str:
    """Name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def unlike(found: dict[str, Any], lm: Any) -> str | None:
    """How a file's identity differs from this model here, as half a sentence; None where it does not."""
    if not hasattr(lm, "model"):
        return "it was made for a model with weights"
    return next((f"its {name} is {found.get(name)!r}, here it is {ours!r}"
                 for name, ours in identity(lm).items() if found.get(name) != ours), None)


def known(measured: Sequence[Measured]) -> dict[Key, tuple[float, float, float]]:
    """Key of an arm -> its tokens, seconds and catching up, as a cost controller's `prior` has them."""
    return {m.key: (m.tokens, m.seconds, m.catching) for m in measured}


def write_calibration(path: Path, holds_for: dict[str, Any], measured: Sequence[Measured], versions: dict[str, str]) -> None:
    """Write the file whole or not at all (temporary name, then rename). holds_for: the `identity` of the model measured. Raises
    DataError where it cannot be written.
    """
    arms = [{"drafter": m.drafter, "budget": m.budget, "tokens_per_round": m.tokens, "seconds_per_round": m.seconds,
             "catching_up_seconds_per_token": m.catching} for m in measured]
    text = json.dumps({"format": FORMAT, "holds_for": holds_for, "versions": versions, "arms": arms}, indent=2)
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}.") from error


def read_calibration(path: Path) -> tuple[dict[str, Any], list[Measured]]:
    """What the file holds for, and its arms. Raises DataError for a file that is none of ours, broken or out of range."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"it is no JSON ({error})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("holds_for"), dict):
        raise DataError(f"expected a file of `paceline doctor --save`, with format {FORMAT!r}")
    try:
        return found["holds_for"], [_measured(arm) for arm in found["arms"]]
    except (KeyError, TypeError, ValueError, AttributeError, PacelineError) as error:
        raise DataError(f"its arms are broken ({type(error).__name__}: {error})") from error


def _measured(arm: dict[str, Any]) -> Measured:
    numbers = [float(arm[name]) for name in ("tokens_per_round", "seconds_per_round", "catching_up_seconds_per_token")]
    made = Measured(str(arm["drafter"]), int(arm["budget"]), *numbers)
    plugins.parse(made.drafter)
    if not all(map(math.isfinite, numbers)) or made.tokens < 1 or made.seconds <= 0 or made.catching < 0 or made.budget < 0:
        raise ValueError(f"{made} is out of range")
    return made
