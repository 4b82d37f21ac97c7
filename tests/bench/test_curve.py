"""Curves: every figure is there for every side, the text stands where it should, and what is asked for must make sense."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paceline.bench import curve, curve_table
from paceline.bench.curve import ROWS, Curve, trace
from paceline.bench.page import front, render, with_front
from paceline.bench.steps import Ours
from paceline.errors import RequestError
from paceline.testing import tiny_lm
from tests.tiny import save_tiny


@dataclass
class Counted:
    """A side that takes a second a token, and remembers what was asked."""

    asked: list[tuple[str, int]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {}

    def fill(self, length: int) -> float:
        self.asked.append(("fill", length))
        return float(length)

    def step(self, tokens: int) -> float:
        self.asked.append(("step", tokens))
        return float(tokens)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = save_tiny(tmp_path_factory.mktemp("model"))
    asked = Curve(str(folder), behind=(24, 8, 600), prefill=(16, 1000), against=("transformers",), threads=1)
    return trace(asked) | {"command": "paceline bench --curve"}


def test_every_side_has_every_figure(report: dict[str, Any]) -> None:
    """Lengths in order, and without those beyond the context of 512."""
    json.dumps(report, allow_nan=False)
    assert list(report["steps"]) == ["8", "24"] and list(report["prefill"]) == ["16"]
    figures = [side for sizes in report["steps"].values() for side in sizes.values()] + list(report["prefill"].values())
    assert len(figures) == 2 * len(ROWS) + 1
    assert all(set(sides) == {"paceline", "transformers"} and min(sides.values()) > 0 for sides in figures)


def test_a_curve_is_a_section_of_the_page_and_a_row_in_front(report: dict[str, Any]) -> None:
    text = curve_table.markdown(report)
    assert text.count("| paceline |") == text.count("| transformers |") == 2 and "A prompt of 16 tokens" in text
    page = render({"curve_smol": report})
    assert page.index("## curve_smol") < page.index("# Appendix") and "[curve_smol](#curve_smol)" in page
    row = next(line for line in front({"curve_smol": report}).splitlines() if "4 tokens over one" in line)
    one, four = (report["steps"]["8"][size]["paceline"] for size in ("1", "4"))
    assert row == f"| a forward of 4 tokens over one | {four / one:.3g} | – |"


def test_readme_takes_the_table_between_its_marks(report: dict[str, Any]) -> None:
    readme = "a\n<!-- figures -->\nold\n<!-- end of figures -->\nb\n"
    made = with_front(readme, {"curve_smol": report})
    assert made == f"a\n<!-- figures -->\n{front({'curve_smol': report})}<!-- end of figures -->\nb\n" and "old" not in made
    assert with_front("a\n", {"curve_smol": report}) == "a\n" and with_front(readme, {}) == readme


def test_sides_take_turns_and_the_first_one_only_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "TURNS", (3, 4))
    sides = {"paceline": Counted(), "other": Counted()}
    found = curve._steps(sides, 64, lambda: None)
    assert found == {str(rows): {"paceline": rows, "other": rows} for rows in ROWS}
    assert sides["paceline"].asked == [("fill", 64), *(("step", rows) for rows in ROWS for _ in range(4))]


def test_ours_takes_its_forwards_back() -> None:
    side = Ours(tiny_lm())
    side.fill(20)
    side.step(4)
    assert side.slot.length == 20
    side.fill(5)
    assert side.slot.length == 5


@pytest.mark.parametrize("settings", [{"shape": "9b"}, {"behind": (0,)}, {"against": ("lama_cpp",)}, {"requantise": "q4"}])
def test_settings_that_make_no_curve(settings: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Curve(**settings)


def test_a_rival_without_single_forwards_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.bench.rivals.openvino.missing", lambda source: "")
    with pytest.raises(RequestError, match="shows no single forwards"):
        curve._sides(Curve(against=("openvino",)), "zoo:tiny", tiny_lm())
