"""What reproductions share: intervals over seeds, and a record as JSON, table and picture, each written in one move."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from paceline.errors import ModelError
from paceline.files import read_json, replace_json, replace_text, replacing

__all__ = ["Mean", "bars", "check_drawing", "mean_of", "once", "picture", "rendered", "table", "write_record"]

# Student's t at 97.5 % for n - 1 degrees of freedom, n = 2, 3, …
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


class Mean(float):
    """A mean over seeds, with the half-width of its 95 % interval."""

    half: float

    def __str__(self) -> str:
        return f"{float(self):.2f}" if math.isnan(self.half) else f"{float(self):.2f} ± {self.half:.2f}"

    @property
    def bar(self) -> float:
        """For pictures: nothing where the interval is unknown."""
        return 0.0 if math.isnan(self.half) else self.half

    @property
    def low(self) -> float:
        return self - self.half


def mean_of(values: Sequence[float]) -> Mean:
    """Mean with Student's 95 % interval; of one value the interval is unknown."""
    n = len(values)
    mean = Mean(sum(values) / n)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else math.nan
    mean.half = _T[min(n - 2, len(_T) - 1)] * spread / math.sqrt(n) if n > 1 else math.nan
    return mean


def bars(figures: Sequence[dict[str, Any]]) -> list[list[float]]:
    """For pictures: how far intervals reach below and above their values, [2, N]; nothing where there is none."""
    return [[0.0 if f[edge] is None else abs(f[edge] - f["value"]) for f in figures] for edge in ("low", "high")]


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def rendered(recipe: str, **figures: Any) -> str:
    """A recipe's page, its figures put into the words of the `page.md.j2` beside it. recipe: the `__file__` of its module."""
    templates = Environment(loader=FileSystemLoader(Path(recipe).parent), undefined=StrictUndefined, keep_trailing_newline=True,
                            trim_blocks=True)
    return templates.get_template("page.md.j2").render(figures, table=table)


def once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is in this file, or what is made and put there: a run that was killed goes on behind its finished parts."""
    if not path.exists():
        replace_json(path, make())
    return dict(read_json(path))


def write_record(folder: Path, name: str, data: dict[str, Any], page: str) -> None:
    """`<name>.json` and `<name>.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_json(folder / f"{name}.json", data, indent=1)
    replace_text(folder / f"{name}.md", page)


def check_drawing() -> None:
    """Raise ModelError where no picture can be drawn."""
    if find_spec("matplotlib") is None:
        raise ModelError("A reproduction draws a picture: install paceline[plots].")


def picture(path: Path, draw: Callable[[Any], None], panels: int = 1) -> None:
    """Let `draw(axes)` fill a figure of so many panels side by side."""
    check_drawing()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, panels, figsize=(4.6 * panels, 3.4), layout="constrained")
    draw(axes)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=130, format="png")
    pyplot.close(figure)
