"""llama.cpp's rounds, with a model in its place that says what follows: lookup writes plain decoding's text in fewer forwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paceline.bench.rivals import Terms, at_hand, rivals
from paceline.bench.rivals.llama_cpp import LlamaCpp
from paceline.errors import RequestError
from paceline.testing import tiny_lm


class Counting:
    """A model in which i is followed by i + 1, up to 9, then 0; and a cache that must hold the text it is asked about."""

    def __init__(self) -> None:
        self.text: list[int] = []
        self.forwards = 0

    def clear(self) -> None:
        self.text = []

    def crop(self, length: int) -> None:
        self.text = self.text[:length]

    def forward(self, tokens: list[int], rows: int = 1) -> None:
        self.text += tokens
        self.forwards += 1

    def chooser(self, sampling: Any) -> Callable[[int, int], int]:
        return lambda i, rows: (self.text[len(self.text) - rows + i] + 1) % 10


def decoded(draft: Callable[[list[int]], list[int]] | None, wanted: int) -> tuple[list[int], int, list[int]]:
    model = Counting()
    method = LlamaCpp("llama_cpp/plain", model, Terms("x", tiny_lm()), draft)  # type: ignore[arg-type]
    [tokens] = method.run([[3, 4, 5]], wanted).tokens
    assert method.count_forwards([3, 4, 5], wanted) == model.forwards
    return tokens, model.forwards, model.text


@pytest.mark.parametrize("wanted", [1, 2, 3, 7])
@pytest.mark.parametrize("off", [0, 1])
def test_drafts_right_and_wrong_leave_the_text(wanted: int, off: int) -> None:
    ends = 0  # the tiny model's end token, which is never reached here: 5 is followed by 6, 7, 8, 9
    plain, forwards, _ = decoded(None, min(wanted, 4))
    drafted, fewer, text = decoded(lambda text: [(text[-1] + 1) % 10, (text[-1] + 2 + off) % 10], min(wanted, 4))
    assert drafted == plain == [6, 7, 8, 9][: min(wanted, 4)] and ends not in plain
    assert text == [3, 4, 5, *drafted[:-1]] and fewer <= forwards == len(plain)
    assert off or len(plain) < 3 or fewer < forwards


def test_families_that_cannot_run_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.bench.rivals.llama_cpp.installed", lambda: False)
    said: list[str] = []
    kept = at_hand(("llama_cpp/plain", "llama_cpp/prompt_lookup", "transformers", "openvino"), "zoo:tiny", said.append)
    assert kept == ("transformers",) and [line.split()[0] for line in said] == ["llama_cpp", "openvino"]
    with pytest.raises(RequestError, match=r"llama_cpp cannot run here.*paceline\[rivals\]"):
        rivals(("llama_cpp",), Terms("zoo:tiny", tiny_lm()))
