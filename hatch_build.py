"""Puts the compiled forward into a wheel, for every kind of processor of this architecture, where there is a compiler.

A wheel built without one is pure Python: its forward is compiled at first use, or torch's serves.
"""

import importlib.util
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledForward(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        compiler = loaded(Path(self.root) / "paceline" / "lm" / "forwards" / "fused" / "compiler.py")
        found = compiler.found_compiler()
        if found is None:
            self.app.display_warning("No C++ compiler was found: this wheel carries no compiled forward.")
            return
        self.scratch = tempfile.TemporaryDirectory()
        file = Path(self.scratch.name) / "libfused.so"
        compiler.build(found, file, list(compiler.PATHS))
        build_data["force_include"][str(file)] = "paceline/lm/forwards/fused/libfused.so"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "scratch"):
            self.scratch.cleanup()


def loaded(file: Path) -> Any:
    """A module by its file: the package itself wants torch, which a build has not."""
    spec = importlib.util.spec_from_file_location("paceline_compiler", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
