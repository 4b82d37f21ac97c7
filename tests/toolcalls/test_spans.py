"""Values in a message, by type, and the likeliest for a parameter."""

from __future__ import annotations

import pytest

from paceline.toolcalls.schema import Parameter
from paceline.toolcalls.spans import candidates, spans_of

MESSAGE = ("Hi, I am John Doe, my token is a9s8d7. Book 'Sea View' from March 5th, 2024 at 9:30pm for 2 guests, 120.50 a night, "
           'and write to john@site.org about "late arrival". The deadline is 2024-03-01.')  # fmt: skip


@pytest.mark.parametrize(("parameter", "first"), [
    (Parameter("token", "string"), "a9s8d7"),
    (Parameter("user_name", "string"), "John Doe"),
    (Parameter("email", "string"), "john@site.org"),
    (Parameter("start_date", "string"), "2024-03-05"),
    (Parameter("deadline", "string", format="date"), "2024-03-01"),
    (Parameter("message", "string"), "late arrival"),
    (Parameter("time", "string"), "21:30"),
    (Parameter("kind", "string", enum=("early", "late")), "late"),
    (Parameter("urgent", "boolean"), "true"),
])  # fmt: skip
def test_the_likeliest_value(parameter: Parameter, first: str) -> None:
    found = candidates(parameter, spans_of(MESSAGE), MESSAGE)
    assert first in found[:2]


def test_numbers_are_numbers() -> None:
    spans = spans_of(MESSAGE)
    assert "2" in candidates(Parameter("guests", "integer"), spans, MESSAGE)
    assert "120.50" not in candidates(Parameter("guests", "integer"), spans, MESSAGE)
    assert "120.50" in candidates(Parameter("price", "number"), spans, MESSAGE)
    assert candidates(Parameter("tags", "array"), spans, MESSAGE) == []


def test_values_are_written_as_json_does() -> None:
    text = 'say "a\\b" and "ü"'
    found = candidates(Parameter("text", "string"), spans_of(text), text)
    assert "a\\\\b" in found and "ü" in found
    assert candidates(Parameter("n", "any", enum=(None, 3)), (), "") == ["null", "3"]
