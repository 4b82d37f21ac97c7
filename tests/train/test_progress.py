"""Progress shows up as plain lines where there is no terminal."""

from __future__ import annotations

import pytest

from paceline.train.loop import Progress
from paceline.train.progress import reporter


def test_one_line_per_report(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter("target", 20) as report:
        report(Progress(10, 20, {"xent": 2.5}, 1234.0, 90.0))
    assert capsys.readouterr().err == "target step 10/20 xent 2.5000 1234 tokens/s 1.5 min\n"
