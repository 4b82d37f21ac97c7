"""What the pages promise is there: the files they name, and every public name in the reference."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import paceline

ROOT = Path(__file__).resolve().parents[1]


def test_files_that_the_pages_name_are_shipped() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
    named = {*re.findall(r"docs/examples/[\w.]+", text), *re.findall(r"--(?:tools|json-schema) (\S+)", text)}
    assert len(named) >= 2 and all((ROOT / name).is_file() for name in named)


def test_the_reference_holds_every_public_name_with_its_words() -> None:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(hooks := importlib.util.module_from_spec(spec))
    page = hooks.on_page_markdown((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    entries = dict(re.findall(r"^### (\w+)\n\n(.+?)(?=^##|\Z)", page, re.M | re.S))
    assert set(entries) == set(paceline.__all__)
    assert "load(model: Any" in entries["load"] and "Raises ModelError" in entries["load"]
    assert "temperature: float = 0.0" in entries["Sampling"] and "LM(model: Any" in entries["LM"]
