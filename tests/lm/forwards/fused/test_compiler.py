"""The compiled library: built once, whole or not at all, for the processor that is there; and every way to be without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.lm.forwards.fused import compiler

CXX = compiler.found_compiler()
needs_compiler = pytest.mark.skipif(CXX is None, reason="no C++ compiler")
FAKES = {
    "no such header": "echo 'error: no such header' >&2; exit 1",
    "ended by signal 9": "kill -9 $$",
    "wrote nothing": "exit 0",
}


def missing() -> str:
    """Why there is no library, asked anew."""
    code, why = compiler._library.__wrapped__("portable" if compiler.X86 else "")
    assert code is None
    return why


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "paceline"


@pytest.mark.parametrize("said", FAKES)
def test_a_compiler_that_gives_nothing_is_named_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path, said: str
) -> None:
    fake = tmp_path / "c++"
    fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo 1.0 && exit 0\n{FAKES[said]}\n', encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    assert said in missing() and not list(cache.glob("*.so"))


def test_without_a_compiler_it_says_how_to_get_the_fast_one(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "no C++ compiler" in missing() and "wheel" in missing()


@pytest.mark.skipif(not compiler.X86, reason="one kind of processor only")
def test_code_that_the_processor_cannot_run_is_never_loaded(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    for best, allowed in (("portable", ["portable"]), ("avx2", ["avx2", "portable"]), ("avx512vnni", list(compiler.PATHS))):
        monkeypatch.setattr(compiler, "own_path", lambda *_, best=best: best)
        assert compiler.runnable("", best) == best
        for path in (*compiler.PATHS, "z80"):
            if path in allowed:
                assert compiler.runnable(path, best) == path
            else:
                code, why = compiler._library.__wrapped__(path)
                assert code is None and " or ".join(allowed) in why and repr(path) in why
    assert not list(cache.glob("*.so"))


@needs_compiler
def test_a_cache_folder_that_cannot_be_written_is_replaced_by_a_private_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    folder = compiler.cache_folder()
    assert folder.parent == tmp_path / "temporary" and folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)  # a folder in which others may put a library is not trusted
    compiler._folder.cache_clear()
    with pytest.raises(OSError, match="folder of yours"):
        compiler.cache_folder()
    compiler._folder.cache_clear()


@needs_compiler
@pytest.mark.skipif(not compiler.X86, reason="one kind of processor only")
def test_two_processes_build_it_once_and_a_broken_one_is_built_again(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """A stand-in for the source keeps this quick; what is built is a real library."""
    source = cache.parent.parent / "small.cpp"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("""
#include <cstdint>
#define JOINED(name, path) name##_##path
#define NAMED(name, path) JOINED(name, path)
extern "C" int32_t NAMED(size_of, PACELINE_PATH)(int32_t) { return 7; }
extern "C" int32_t NAMED(forward, PACELINE_PATH)() { return 0; }
extern "C" int32_t NAMED(extend, PACELINE_PATH)() { return 0; }
""", encoding="utf-8")
    child = ("import sys; from pathlib import Path; sys.path.append(sys.argv[2]);"
             "import compiler as c; c.SOURCE = Path(sys.argv[1]);"
             "build = c.build; c.build = lambda *a: (a[2] and print('built'), build(*a));"
             "code, why = c.library(); print(code.size_of(0) if code else why)")
    command = [sys.executable, "-c", child, str(source), str(compiler.HERE)]  # by itself: the package would import torch
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    said = [process.communicate(timeout=300)[0].split() for process in running]
    assert sorted(said) == [["7"], ["built", "7"]]
    file = next(cache.glob("fused-*.so"))
    data = file.read_bytes()
    for broken in (b"", data[:100], data[: len(data) // 2], data[:-1], bytes(len(data))):  # to load some would end the process
        file.write_bytes(broken)
        assert subprocess.run(command, capture_output=True, text=True, timeout=300).stdout.split() == ["built", "7"]


@needs_compiler
def test_a_change_in_any_source_or_header_makes_another_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before, here = compiler.fingerprint(str(CXX), next(iter(compiler.PATHS))), compiler.HERE
    shutil.copytree(here, tmp_path / "fused")
    for name in ("HERE", "SOURCE", "CHOICE"):
        monkeypatch.setattr(compiler, name, tmp_path / "fused" / getattr(compiler, name).relative_to(here))
    assert compiler.fingerprint(str(CXX), next(iter(compiler.PATHS))) == before
    for file in [*(tmp_path / "fused").glob("*.h"), *(tmp_path / "fused").glob("*.cpp")]:
        text = file.read_text(encoding="utf-8")
        file.write_text(text + "// another", encoding="utf-8")
        assert compiler.fingerprint(str(CXX), next(iter(compiler.PATHS))) != before
        file.write_text(text, encoding="utf-8")


@needs_compiler
@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_no_function_of_one_processor_can_stand_in_for_another_s() -> None:
    """Weak symbols are shared among a library's objects, so one compiled for AVX-512 could be called on a machine without."""
    assert compiler.library()[0] is not None
    files = compiler.cache_folder().glob("fused-*.so")
    newest = compiler.SHIPPED if compiler.SHIPPED.exists() else max(files, key=lambda file: file.stat().st_mtime)
    symbols = subprocess.run(["nm", "-C", str(newest)], capture_output=True, text=True, check=True).stdout
    shared = [line for line in symbols.splitlines() if " W " in line and "__gnu_cxx" not in line]  # but for the compiler's own
    assert "forward_" in symbols and not shared


@pytest.mark.slow
@needs_compiler
def test_a_wheel_carries_the_library_and_needs_no_compiler(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(root)], check=True, timeout=900)
    wheel = next(tmp_path.glob("paceline-*.whl"))
    assert "none-any" not in wheel.name
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True, timeout=300)
    empty = {"PATH": "", "PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    child = "import paceline; lm = paceline.load('zoo:tiny'); print(paceline.__file__, lm.forward_name)"
    done = subprocess.run([sys.executable, "-c", child], env=empty, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert str(tmp_path) in done.stdout and "fused" in done.stdout, done.stderr


@pytest.mark.slow
@needs_compiler
def test_the_kernel_s_own_tests_pass_under_address_sanitizer(tmp_path: Path) -> None:
    """Compiled with checks of every access, at a level at which that takes a minute."""
    runtime = subprocess.run([str(CXX), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).exists():
        pytest.skip("this compiler has no address sanitizer")
    wrapped = tmp_path / "c++"
    wrapped.write_text(f'#!/bin/sh\nexec {CXX} "$@" -fsanitize=address -O1\n', encoding="utf-8")
    wrapped.chmod(0o755)
    checked = {**os.environ, "CXX": str(wrapped), "XDG_CACHE_HOME": str(tmp_path / "cache"), "LD_PRELOAD": runtime,
               "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", "not portable", str(Path(__file__).with_name("test_forward.py"))]
    done = subprocess.run(command, env=checked, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
