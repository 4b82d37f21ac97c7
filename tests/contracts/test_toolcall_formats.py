"""Whatever a tool-call format drafts, it parses, and a prompt that shows its calls asks for it. Walks the folder."""

from __future__ import annotations

import pytest

from paceline.errors import DataError
from paceline.toolcalls.asked import END, Asked
from paceline.toolcalls.calls import Writing
from paceline.toolcalls.formats import Call, formats, shown
from paceline.toolcalls.schema import read_tools

NAMES = sorted(formats())
TOOLS = read_tools([{"name": "book", "parameters": {"type": "object", "required": ["city", "nights"], "properties": {
    "city": {"type": "string"}, "nights": {"type": "integer"}}}}])  # fmt: skip
CALL = Call("book", {"city": "Rome", "nights": 3})


def drafted(name: str, calls: int) -> str:
    """An answer of so many calls that takes the first draft at each place, but goes on to another call until it has them all."""
    asked = Asked(TOOLS, "Please book a room in Rome for 3 nights.", name)
    writing, text = Writing(asked), formats()[name].opening + next(formats()[name].first(asked))
    writing.feed(text)
    for _ in range(80 * calls):
        pieces = list(writing.pieces())
        more, others = ([p for p in pieces if (p.kind[0] == "another call") == wanted] for wanted in (True, False))
        if (calls == 1 or not more) and (not others or others[0].text == END):
            break
        piece = more[0] if more and calls > 1 else others[0]
        calls -= piece in more
        writing.feed(piece.text)
        text += piece.text
    return text


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_format_drafts_it_parses(name: str, calls: int) -> None:
    text = drafted(name, calls)
    assert formats()[name].parse(text) == [CALL] * calls
    assert shown(f"Answer like this:\n{text}\nNow begin.") == name or name == "raw"


@pytest.mark.parametrize("name", NAMES)
def test_no_call_is_none_and_a_broken_one_is_one_sentence(name: str) -> None:
    made = formats()[name]
    assert made.parse("The sum is 4.") == made.parse("") == []
    with pytest.raises(DataError, match="^Expected a"):
        made.parse(drafted(name, 1)[: len(made.opening) + 20])
