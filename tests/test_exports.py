"""The public surface is what it says it is, and importing it stays cheap."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import paceline

MODULES = [name for _, name, _ in pkgutil.walk_packages(paceline.__path__, "paceline.") if ".zoo" not in name]
OUTER = {"typer", "rich", "fastapi", "uvicorn", "datasets", "accelerate", "matplotlib", "llguidance", "peft", "sacrebleu",
         "pytest"}


def test_public_names_exist() -> None:
    assert sorted(set(paceline.__all__)) == sorted(paceline.__all__)
    for name in paceline.__all__:
        assert getattr(paceline, name) is not None


def test_nothing_public_is_missing_from_all() -> None:
    """Every public function or class the front door holds is listed: a name is offered on purpose or not at all."""
    held = {name for name, value in vars(paceline).items() if not name.startswith("_") and callable(value)}
    assert held <= set(paceline.__all__)


PROMISED = ["load", "generate", "stream", "accelerate", "Sampling", "Generation", "Grammar", "PacelineError"]


@pytest.mark.parametrize("name", PROMISED)
def test_the_documented_names_are_public(name: str) -> None:
    assert name in paceline.__all__


def test_names_come_when_asked_for_and_no_model_library_before() -> None:
    code = ("import sys, paceline; held = set(vars(paceline)); from paceline import RequestError\n"
            "print({'numpy', 'torch', 'transformers'} & set(sys.modules), 'RequestError' in held, RequestError.__module__,\n"
            "      paceline.RequestError is RequestError, set(paceline.__all__) <= set(dir(paceline)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() False paceline.errors True True\n"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'paceline' has no attribute 'genrate'"):
        paceline.genrate  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_all_matches_reality(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "__all__", ()):
        assert hasattr(loaded, name), f"{module}.__all__ lists {name!r}, which the module does not have"


def test_importing_paceline_leaves_the_extras_alone() -> None:
    code = "import sys, paceline; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not OUTER & set(loaded)
