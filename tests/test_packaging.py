"""What the package declares: nothing that it does not use, and its types."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, WHEEL = DECLARED["project"], DECLARED["tool"]["hatch"]["build"]["targets"]["wheel"]
# Where a package's module has another name
MODULES = {"scikit-learn": "sklearn", "llama-cpp-python": "llama_cpp", "openvino-genai": "openvino_genai"}


@cache
def imported() -> set[str]:
    """The packages that the source imports, at the top of a file or inside a function, or looks for on another's behalf."""
    nodes = [node for path in (ROOT / "paceline").rglob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    sought = [n.args[0].value for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func).endswith("find_spec")]
    return {name.split(".")[0] for name in [*names, *sought, *(n.module or "" for n in nodes if isinstance(n, ast.ImportFrom))]}


EXTRAS = {name: needs for name, needs in PROJECT["optional-dependencies"].items() if name not in ("dev", "docs")}


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_what_is_declared_is_used(extra: str) -> None:
    needs = EXTRAS[extra] if extra else PROJECT["dependencies"]
    names = {re.split(r"[<>=\[]", need)[0] for need in needs}
    assert {MODULES.get(name, name) for name in names} <= imported()


def test_types_are_shipped_as_the_classifier_says() -> None:
    assert "Typing :: Typed" in PROJECT["classifiers"] and (ROOT / "paceline" / "py.typed").is_file()


def tracked(*options: str) -> set[str]:
    """Files of the package that git knows."""
    command = ["git", "-C", str(ROOT), "ls-files", *options, "--", "paceline"]
    if (listed := subprocess.run(command, capture_output=True, encoding="utf-8")).returncode:
        pytest.skip("only a checkout knows which files there should be")
    return set(listed.stdout.splitlines())


def test_the_wheel_holds_every_source() -> None:
    """Hatch takes the folders of `packages`, but for what .gitignore names."""
    assert WHEEL["packages"] == ["paceline"] and not {"exclude", "include", "only-include"} & set(WHEEL)
    assert not tracked("--cached", "--ignored", "--exclude-standard")
    kinds = {Path(name).suffix for name in tracked()}
    assert {".py", ".cpp", ".json", ".jsonl", ".jinja", ".safetensors", ".j2", ".typed"} <= kinds
