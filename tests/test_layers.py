"""Imports run one way. Reads every module of the package with `ast` and fails on any arrow upward."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "paceline"
KINDS = ["drafters", "rules", "controllers", "selectors", "probes", "objectives", "data"]
# `models` lies below the plug-ins: drafters decode with draft heads, objectives and training make them.
LAYERS = [["errors", "files", "plugins", "core"], ["lookup", "patterns"], ["toolcalls"], ["lm"], ["models"], KINDS,
          ["engine", "convert", "train"], ["api", "integrations", "paceline", "testing"], ["bench"], ["replay"],
          ["doctor", "report", "server", "prompts"], ["recipes"], ["cli", "__main__"]]  # fmt: skip
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
TRANSFORMERS_ROOMS = {"lm", "models", "train", "data", "recipes", "integrations"}
# A rival has to be the untouched library, the test toolkit builds tiny models of each family, the command line hides its loading
# bar, and a hybrid model is a folder of the library's.
TRANSFORMERS_FILES = {"bench/rivals/transformers.py", "cli/_model.py", "convert/hybrid.py", "testing.py"}
TERMINAL_LIBRARIES = {"typer", "rich", "click"}


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "zoo" not in path.relative_to(PACKAGE).parts)


def imports(path: Path, types: bool = True) -> Iterator[tuple[str, int]]:
    """Every module `path` imports, as a dotted absolute name, with its line: lazy imports inside functions too, and those for
    types alone unless told otherwise.
    """
    package, tree = ("paceline", *path.relative_to(PACKAGE).parts[:-1]), ast.parse(path.read_text(encoding="utf-8"))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    left_out = set() if types else {node for block in blocks for node in ast.walk(block)}
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            for alias in node.names:
                yield (f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module), node.lineno


def is_module(dotted: str) -> bool:
    first, *rest = dotted.split(".")
    target = PACKAGE.joinpath(*rest)
    return first == "paceline" and bool(rest) and (target.is_dir() or target.with_suffix(".py").is_file())


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return "paceline" if parts == ("__init__.py",) else parts[0].removesuffix(".py")


def house_room(dotted: str) -> str | None:
    """The room a dotted name lives in; None for names outside the package."""
    first, *rest = dotted.split(".")
    if first != "paceline":
        return None
    return rest[0] if rest and is_module(f"paceline.{rest[0]}") else "paceline"


def problems(path: Path) -> list[str]:
    """What this file imports against the rules of the house, one sentence each."""
    here, found = room(path), []
    for dotted, line in imports(path):
        there, where = house_room(dotted), f"{path.relative_to(PACKAGE)}:{line} imports {dotted}"
        if there is None:
            found += outside(path, dotted.split(".")[0], where)
        elif there == here:
            continue
        elif RANK[there] > RANK[here]:
            found.append(f"{where}: an arrow upward, from {here} to {there}")
        elif here in KINDS and there in KINDS:
            found.append(f"{where}: a plug-in imports another kind")
        elif there == "testing":
            found.append(f"{where}: the test toolkit is for tests")
    return found


def outside(path: Path, library: str, where: str) -> list[str]:
    here, name = room(path), path.relative_to(PACKAGE).as_posix()
    if library == "transformers" and here not in TRANSFORMERS_ROOMS and name not in TRANSFORMERS_FILES:
        return [f"{where}: transformers stays in {sorted(TRANSFORMERS_ROOMS)}"]
    if library == "torch" and (here in {"controllers", "plugins", "prompts", "errors"} or name == "server/protocol.py"):
        return [f"{where}: no torch here"]
    if library in TERMINAL_LIBRARIES and here not in {"cli", "bench", "train", "recipes"}:
        return [f"{where}: terminal libraries stay in the outer rooms"]
    return []


def test_every_room_has_a_place() -> None:
    assert {room(path) for path in sources()} <= set(RANK)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    assert not problems(path), "\n".join(problems(path))


def module_name(path: Path) -> str:
    return ".".join(("paceline", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Lazy imports count: they hide a circle, they do not break it. Imports for types alone never run, so they make none."""
    needs = {module_name(path): {name for name, _ in imports(path, types=False)} - {module_name(path)} for path in sources()}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("rules/x.py", "from paceline.drafters import ngram", "another kind"),
        ("drafters/x.py", "def f():\n    from ..engine import decode", "an arrow upward"),
        ("drafters/x.py", "import paceline", "an arrow upward"),
        ("drafters/x.py", "from paceline.patterns import full", None),
        ("controllers/x.py", "import torch.nn", "no torch"),
        ("engine/x.py", "from transformers import Cache", "transformers stays"),
        ("lm/x.py", "from transformers import Cache", None),
        ("lm/x.py", "import rich", "terminal libraries"),
        ("cli/x.py", "from paceline import testing", "test toolkit"),
    ],
)
def test_the_checker_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, complaint: str | None
) -> None:
    for folder in ("drafters", "patterns"):
        (tmp_path / folder).mkdir()
    for file in ("engine.py", "testing.py", "drafters/ngram.py", "patterns/full.py"):
        (tmp_path / file).touch()
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    found = problems(path)
    assert (complaint in found[0]) if complaint else not found
