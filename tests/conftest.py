"""Fixtures everybody may use: one thread, tiny models loaded once, and the command line run in this process."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from paceline import LM
from paceline.cli import _model, main
from paceline.errors import ModelError
from paceline.integrations.transformers import accelerate as native
from paceline.lm import kept
from tests.tiny import save_tiny, shared_lm

THREADS = torch.get_num_threads()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models gain nothing from more, and results do not depend on the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def checks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What checks at load found is kept for this session: the first load of a model checks, and no test leaves files behind."""
    folder = tmp_path_factory.mktemp("checks")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kept, "folder", lambda: folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def embedded() -> Iterator[None]:
    """Verbs run on the embedded model where a test names none, whatever is installed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_model, "default_model", lambda: "zoo:tiny")
        yield


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Recipes let the processor flush tiny numbers to zero; no later test in the same process has to live with that."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of what checks found, for tests that change the code which is checked."""
    monkeypatch.setattr(kept, "folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def all_threads() -> Iterator[None]:
    """The machine's usual number of threads, where a promise has to hold under it."""
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short sums to train heads on."""
    folder = tmp_path_factory.mktemp("texts")
    for i in range(120):
        (folder / f"{i:03}.txt").write_text(f"{i} plus {i + 1} is {2 * i + 1}. " * 5)
    return folder


@pytest.fixture
def lm() -> LM:
    return shared_lm()


@pytest.fixture(scope="session")
def lm_of() -> Callable[..., LM]:
    """`lm_of(family, forward, packed)`: tiny models, each loaded once."""
    return shared_lm


@pytest.fixture(scope="session")
def tiny_of() -> Callable[[str, Any], Any]:
    """`tiny_of(name, lm)`: the instance a drafter's file offers to tests, made once for each model; skips where it says that it
    cannot draft this one.
    """

    @functools.lru_cache
    def made(name: str, lm: Any) -> Any:
        options = importlib.import_module(f"paceline.drafters.{name}").tiny(lm)
        options.attach(lm)
        return options

    def make(name: str, lm: Any) -> Any:
        try:
            return made(name, lm)
        except ModelError as error:
            pytest.skip(str(error))

    return make


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What this test's calls have left to transformers."""
    fresh: set[str] = set()
    monkeypatch.setattr(native, "noted", fresh)
    return fresh


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def paceline_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a byte-level tokenizer and a chat template, as `save_pretrained` writes them."""
    return save_tiny(tmp_path_factory.mktemp("model"))
