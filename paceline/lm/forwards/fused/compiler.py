"""Compiles the C++ sources and loads what comes of them: one library, with an object for each kind of processor it is for.

A wheel carries that library, so no compiler is needed where it is installed. From a folder of sources it is compiled at first
use, for this processor alone, and kept in the user's cache folder. Needs the standard library only: the wheel's build runs it.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["PATHS", "Code", "build", "cache_folder", "library", "library_name"]

HERE = Path(__file__).parent
SOURCE, CHOICE = HERE / "forward.cpp", HERE / "paths.cpp"
SHIPPED = HERE / "libfused.so"  # no module of Python may be called so, or it would be imported in its place
X86 = platform.machine().lower() in ("x86_64", "amd64")
# Kinds of processors, the best first, and what makes the compiler write for each.
PATHS: dict[str, tuple[str, ...]] = {"native": ("-mcpu=native", "-ffp-contract=fast")}
if X86:
    PATHS = {"avx512vnni": ("-march=x86-64-v4", "-mavx512vnni"), "avx512": ("-march=x86-64-v4",), "avx2": ("-march=x86-64-v3",),
             "portable": ("-O2",)}
FLAGS = ("-O3", "-fopenmp", "-std=c++17", "-fPIC", "-ffp-contract=off", "-Wno-psabi")
LINK = ("-shared", "-fopenmp", "-static-libgcc", "-static-libstdc++")
PATIENCE_S = 300
DIGEST = hashlib.sha256().digest_size
HOW = "install g++ or clang++, or a wheel of Paceline made by `make wheel`, which carries the compiled code"


@dataclass(frozen=True)
class Code:
    """A loaded library's functions for one kind of processor."""

    file: Path
    path: str
    forward: Any
    extend: Any
    size_of: Any


def library(path: str | None = None) -> tuple[Code | None, str]:
    """The compiled code, or None and why there is none.

    path: a kind of processor of `PATHS` to play; by default `$PACELINE_CPU`, else the best that this processor has. With g++
    OpenMP resolves to the runtime that torch has loaded, so that both share one team of threads.
    """
    return _library(path or os.environ.get("PACELINE_CPU") or "")


def library_name() -> str:
    """Tells one compiled library, and the kind of processor it plays, from another; empty where there is none."""
    code = library()[0]
    return "" if code is None else f"{code.file} {code.file.stat().st_mtime_ns} {code.path}"


@cache
def _library(path: str) -> tuple[Code | None, str]:
    try:
        if SHIPPED.exists():
            return opened(SHIPPED, path), ""
        compiler = found_compiler()
        if compiler is None:
            return None, f"no C++ compiler was found; {HOW}"
        return compiled(compiler, path), ""
    except subprocess.SubprocessError as error:
        return None, f"{SOURCE.name} could not be compiled: {_reason(error)}"
    except (OSError, RuntimeError, AttributeError) as error:
        return None, f"the compiled forward could not be stored or loaded: {error}"
    except ValueError as error:  # of `runnable`
        return None, str(error)


def found_compiler() -> str | None:
    """`$CXX`, else g++, clang++ or c++; None where there is none of them."""
    names = filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++"))
    return next((found for name in names if (found := shutil.which(name))), None)


def opened(file: Path, path: str) -> Code:
    """A library's functions for `path`, or the best that it holds and this processor runs. Raises OSError, ValueError."""
    code = ctypes.CDLL(str(file))
    path = runnable(path, best_path(code))
    return Code(file, path, *(code[f"{name}_{path}"] for name in ("forward", "extend", "size_of")))


def best_path(code: ctypes.CDLL) -> str:
    """What the processor says of itself. Raises OSError where the library holds nothing that it runs."""
    code.best_path.restype = ctypes.c_char_p
    best = code.best_path().decode()
    if not best:
        raise OSError("this processor can run none of the kinds of code in it")
    return best


def runnable(path: str, best: str) -> str:
    """The kind asked for, by default the best one. Raises ValueError for one that is unknown or better than the processor's."""
    kinds = list(PATHS)[list(PATHS).index(best) :]
    if path and path not in kinds:
        raise ValueError(f"expected PACELINE_CPU to be {' or '.join(kinds)} on this processor, found {path!r}")
    return path or best


def compiled(compiler: str, path: str) -> Code:
    """The library for one kind of processor, from the cache folder; built there, once, whoever else wants it at the same time."""
    folder = cache_folder()
    path = runnable(path, own_path(compiler, folder))
    file = folder / f"fused-{path}-{fingerprint(compiler, path)}.so"
    with locked(file.with_suffix(".lock")):
        if whole(file):
            return opened(file, path)
        with told(f"compiling the fast forward for this processor ({path}), once"):
            build(compiler, file, [path])
    return opened(file, path)


def own_path(compiler: str, folder: Path) -> str:
    """The best kind for this processor, which the sources' own choice tells; anywhere but on x86-64 there is one kind only."""
    if len(PATHS) == 1:
        return next(iter(PATHS))
    file = folder / f"choice-{hashlib.sha256(CHOICE.read_bytes() + repr(PATHS).encode()).hexdigest()[:16]}.so"
    if not whole(file):
        build(compiler, file, [], PATHS)
    return best_path(ctypes.CDLL(str(file)))


def whole(file: Path) -> bool:
    """Whether a library is there with the digest that `build` puts behind its end: to load one cut short may end the process."""
    data = file.read_bytes() if file.exists() else b""
    return data[-DIGEST:] == hashlib.sha256(data[:-DIGEST]).digest()


def build(compiler: str, file: Path, paths: Sequence[str], choice: Iterable[str] = ()) -> None:
    """Compile an object for each of these kinds of processors and link them into `file`, which appears whole or not at all.
    choice: between which kinds the library tells the best; by default those that are in it.

    Raises SubprocessError where the compiler fails, is ended, or writes nothing.
    """
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        objects = [Path(scratch) / f"{name}.o" for name in (*paths, "choice")]
        commands = [[compiler, *FLAGS, *PATHS[name], f"-DPACELINE_PATH={name}", "-c", str(SOURCE)] for name in paths]
        commands.append([compiler, "-O2", "-fPIC", *(f"-DHAS_{name}" for name in choice or paths), "-c", str(CHOICE)])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(made, commands, objects))
        linked = made([compiler, *LINK, *map(str, objects)], Path(scratch) / file.name)
        data = linked.read_bytes()
        linked.write_bytes(data + hashlib.sha256(data).digest())
        os.replace(linked, file)


def made(command: list[str], file: Path) -> Path:
    """Let a compiler's command write this file. Raises SubprocessError where it fails or writes nothing."""
    run([*command, "-o", str(file)])
    if not file.exists() or not file.stat().st_size:
        raise subprocess.SubprocessError(f"{command[0]} ended without an error and wrote nothing")
    return file


def run(command: list[str]) -> str:
    """Run a compiler's command; gives what it said. Raises SubprocessError where it fails."""
    return subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S, encoding="utf-8", errors="replace").stdout


def _reason(error: subprocess.SubprocessError) -> str:
    """Why a compiler gave nothing: the line of its own that says so, or what ended it."""
    if isinstance(error, subprocess.CalledProcessError) and error.returncode < 0:
        return f"{error.cmd[0]} was ended by signal {-error.returncode}"
    lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or ["it said nothing"]
    return next((line for line in lines if "error" in line), lines[0])


def fingerprint(compiler: str, path: str) -> str:
    """A name that changes with the sources, the flags and the compiler; where code is for the very processor, with that too."""
    sources = [file.read_text(encoding="utf-8") for file in (SOURCE, CHOICE, *sorted(HERE.glob("*.h")))]
    parts = [*sources, *FLAGS, *LINK, *PATHS[path], run([compiler, "--version"])]
    if path == "native":
        from paceline.lm.machine import processor_details  # here, since the wheel's build has no torch for `paceline.lm`

        parts.append(processor_details())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@cache
def _folder(wished: Path) -> Path:
    """`wished` where it can be written, else a private one among the temporary files. Raises OSError where neither can."""
    with contextlib.suppress(OSError):
        wished.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wished):
            return wished
    own = Path(tempfile.gettempdir()) / f"paceline-{getattr(os, 'getuid', int)()}"
    own.mkdir(mode=0o700, exist_ok=True)
    status = own.lstat()
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022)):
        raise OSError(f"neither {wished} nor {own} is a folder of yours that can be written to")
    return own


def cache_folder() -> Path:
    """Where what was made for this machine is kept: `$XDG_CACHE_HOME/paceline`, by default `~/.cache/paceline`."""
    return _folder(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paceline")


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock file, so that of two processes that want the same thing one makes it. No lock where the system has none."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with file.open("wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """One line on a terminal while something takes its time."""
    shown = sys.stderr is not None and sys.stderr.isatty()
    if shown:
        print(f"paceline: {what} …", file=sys.stderr, flush=True)
    yield
