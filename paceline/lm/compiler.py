"""Compiles our one C++ source with the machine's own compiler, once per machine, and loads it."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

__all__ = ["cache_folder", "library", "library_name", "processor"]

SOURCE = Path(__file__).with_name("fused.cpp")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-std=c++17", "-shared", "-fPIC")
# GCC tuned for some processors splits multiply-adds in one copy of a loop and not in another, which would round differently.
FUSE = ("-ffp-contract=fast", "--param=avoid-fma-max-bits=0")
PATIENCE_S = 120


@lru_cache(maxsize=1)
def library() -> tuple[ctypes.CDLL | None, str]:
    """The compiled library, or None and why there is none; kept in the user's cache folder, named after all it depends on.

    Looks for `$CXX`, then g++, clang++ and c++. With g++ OpenMP resolves to the runtime torch has loaded, so that both
    share one team of threads.
    """
    names = filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++"))
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    if compiler is None:
        return None, "no C++ compiler was found (g++ or clang++)"
    try:
        path = cache_folder() / f"fused-{fingerprint(compiler)}.so"
        if not path.exists():
            build(compiler, path)
        return ctypes.CDLL(str(path)), ""
    except subprocess.SubprocessError as error:
        words = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return None, f"{compiler} could not compile {SOURCE.name}: {words[0] if words else error}"
    except (OSError, RuntimeError) as error:
        return None, f"the compiled forward could not be stored or loaded: {error}"


def library_name() -> str:
    """Tells one compiled library from another; empty where there is none."""
    code = library()[0]
    return "" if code is None else Path(code._name).name


def cache_folder() -> Path:
    """Where compiled code is kept: `$XDG_CACHE_HOME/paceline`, by default `~/.cache/paceline`."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paceline"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fingerprint(compiler: str) -> str:
    """A name that changes with the source, the flags, the compiler and the processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
    parts = (SOURCE.read_text(), *FLAGS, *FUSE, version, processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def processor() -> str:
    """What the processor can do, as far as the system tells: `-march=native` depends on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"


def build(compiler: str, path: Path) -> None:
    """Compile to a temporary name, then move into place: two processes may do it at once."""
    handle, temporary = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        for more in (FUSE, FUSE[:1]):  # other compilers do not know the second flag
            command = [compiler, *FLAGS, *more, str(SOURCE), "-o", temporary]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
            if done.returncode == 0:
                break
        done.check_returncode()
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
