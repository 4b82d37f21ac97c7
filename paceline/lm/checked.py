"""What the checks at load found, kept on disk: a model that is loaded again on the same machine is not checked again.

The checks ask whether kernels give the same bits for every number of tokens, and whether two forwards compute the same function.
All that they hang on names the file (`kept.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.core.progress import waiting
from paceline.errors import DataError
from paceline.lm import kept

if TYPE_CHECKING:
    from paceline.lm.lm import LM


__all__ = ["Checks"]


class Checks:
    """`checks(name, check)`: what `check()` gives (bools, texts, lists of them), or gave for this model on this machine.

    keep: False for a model whose modules may compute anything (`plain.py`), which its weights do not tell: it is checked at every
    load. So it is where a file is broken or the folder cannot be used; `note` then says why, in one sentence.
    """

    def __init__(self, lm: LM, keep: bool) -> None:
        self.note, self.path, self.found = "", None, dict[str, Any]()
        if keep:
            with self._noting():
                self.path = kept.folder() / f"checks-{kept.identity(lm)}.json"
                self.found = kept.read(self.path)

    def __call__(self, name: str, check: Callable[[], Any]) -> Any:
        if name not in self.found:
            with waiting("checking, once for this model, that drafted text is the plain text bit for bit"):
                self.found[name] = check()
            if self.path is not None and not self.note:
                with self._noting():
                    kept.write(self.path, self.found)
        return self.found[name]

    def beside(self, kind: str) -> Path | None:
        """Where findings of another kind are kept for this model; None where they cannot be."""
        return None if self.path is None or self.note else self.path.with_name(self.path.name.replace("checks", kind, 1))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except (DataError, OSError, RuntimeError) as error:  # of these the last where there is no home folder
            self.note = f"checks run at every load, since what they found cannot be kept: {error}"
