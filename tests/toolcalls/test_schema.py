"""Tools from every JSON in which they come, and errors that name the place in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import DataError
from paceline.toolcalls.schema import LEVELS, Parameter, Tool, as_functions, looks_like_a_tool, read_tools

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where?"},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "day": {"type": ["string", "null"], "format": "date"},
        "box": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city"],
}
TOOL = Tool(
    "weather",
    (
        Parameter("city", "string", required=True),
        Parameter("unit", "string", ("C", "F")),
        Parameter("day", "string", format="date"),
        Parameter("box", "object", properties=(Parameter("n", "integer", required=True),)),
        Parameter("tags", "array", items=Parameter("", "string")),
    ),
)
FUNCTION = {"name": "weather", "description": "…", "parameters": SCHEMA}
WORDS = ["type", "properties", "items", "required", "enum", "anyOf", "$ref", "name", "function", "parameters"]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(WORDS) | st.text(),
        inner | st.sampled_from(["object", "array", "#", "#/properties/a"]), max_size=4),
)  # fmt: skip


def of(schema: Any) -> Parameter:
    """The one parameter of a tool."""
    ((parameter,),) = (tool.parameters for tool in read_tools([{"name": "f", "parameters": schema}]))
    return parameter


@pytest.mark.parametrize(
    "value",
    [
        [{"type": "function", "function": FUNCTION}],
        [FUNCTION],
        FUNCTION,
        [{"type": "function", **FUNCTION}],
        {"tools": [{"name": "weather", "inputSchema": SCHEMA}]},
        [{"name": "weather", "input_schema": SCHEMA}],
    ],
)
def test_every_way_to_describe_a_tool(value: Any) -> None:
    assert read_tools(value) == (TOOL,)


def test_other_words_for_types() -> None:
    fields = {"a": {"type": "float"}, "b": {"type": "dict", "properties": {"c": {"type": "tuple", "items": {"type": "Boolean"}}}},
              "d": {"type": "list(str)"}, "e": {"type": "colour"}, "f": {}, "g": True, "h": {"type": ["string", "integer"]},
              "i": {"const": 3}, "j": {"items": {}}}  # fmt: skip
    tool = read_tools([{"name": "f", "parameters": {"type": "dict", "properties": fields}}])[0]
    a, b, d, e, f, g, h, i, j = tool.parameters
    assert (a.type, b.type, d.type, b.properties[0].items) == ("number", "object", "array", Parameter("", "boolean"))
    assert [x.type for x in (e, f, g, h)] == ["any"] * 4 and i.enum == (3,) and j.items == Parameter("")


def test_a_flat_map_of_parameters_is_required_as_a_whole() -> None:
    tool = read_tools([{"name": "f", "parameters": {"type": {"type": "str"}, "n": {"type": "int"}}}])[0]
    assert tool.parameters == (Parameter("type", "string", required=True), Parameter("n", "integer", required=True))


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}, {"type": "object", "properties": {}, "required": []}])
def test_a_tool_may_have_no_parameters(parameters: Any) -> None:
    assert read_tools([{"name": "now", "parameters": parameters}, {"name": "today"}]) == (Tool("now"), Tool("today"))


def test_references_and_choices_beside_null() -> None:
    day = {"enum": ["Mon", "Tue"], "type": "string"}
    one = {"anyOf": [{"$ref": "#/$defs/Day"}, {"type": "null"}], "default": None}
    assert of({"type": "object", "$defs": {"Day": day}, "properties": {"d": one}}) == Parameter("d", "string", ("Mon", "Tue"))
    two = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    assert of({"type": "object", "properties": {"d": two}}).type == "any"
    assert of({"type": "object", "properties": {"d": {"$ref": "other.json#/x"}}}).type == "any"


def test_what_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"left": {"$ref": "#/$defs/N"}, "value": {"type": "string"}}}
    tree = of({"type": "object", "$defs": {"N": node}, "properties": {"root": {"$ref": "#/$defs/N"}}})
    assert tree.properties == (Parameter("left"), Parameter("value", "string"))
    assert of({"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}) == Parameter("a")
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"type": "array", "items": deep}
    levels, at = 0, of({"type": "object", "properties": {"a": deep}})
    while at.items is not None:
        levels, at = levels + 1, at.items
    assert levels < LEVELS


def test_references_that_multiply_are_refused() -> None:
    names = [f"d{i}" for i in range(12)]
    node = {"type": "object", "properties": {n: {"$ref": f"#/$defs/{n}"} for n in names}}
    with pytest.raises(DataError, match="expected at most 10000 values"):
        of({"type": "object", "$defs": dict.fromkeys(names, node), "properties": {"a": node}})


def test_names_may_begin_alike() -> None:
    names = ["get", "get_user", "get_user_by_id"]
    assert [tool.name for tool in read_tools([{"name": name} for name in names])] == names


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ("weather", "tools: expected a list of tools; found 'weather'."),
        ([3], "tools[0]: expected a tool as a JSON object; found 3."),
        ([{"type": "function", "function": {"description": "x"}}],
         "tools[0].function.name: expected the tool's name; found nothing."),
        ([{"name": "a"}, {"name": "b"}, {"name": "a", "parameters": {"x": {}}}],
         "tools[2]: expected a name of its own; found 'a', the name of tools[0]."),
        ([{"name": "a", "parameters": [1]}], "tools[0].parameters: expected a JSON schema of type object; found [1]."),
        ([{"name": "a", "inputSchema": {"type": "string"}}],
         'tools[0].inputSchema.type: expected "object", as arguments have names; found \'string\'.'),
        ([{"name": "a", "parameters": {"type": "object", "properties": {"d": {"type": 7}}}}],
         'tools[0].parameters.properties.d.type: expected the name of a type, such as "string", or a list of them; found 7.'),
        ([{"name": "a", "parameters": {"type": "object", "properties": {"d": 7}}}],
         "tools[0].parameters.properties.d: expected a JSON schema; found 7."),
        ([{"name": "a", "parameters": {"type": "object", "properties": ["d"]}}],
         "tools[0].parameters.properties: expected an object of name: schema; found ['d']."),
        ([{"name": "a", "parameters": {"type": "object", "properties": {"d": {"type": "array", "items": "x"}}}}],
         "tools[0].parameters.properties.d.items: expected a JSON schema; found 'x'."),
        ([{"name": "a", "parameters": {"type": "object", "properties": {"d": {"enum": "abc"}}}}],
         "tools[0].parameters.properties.d.enum: expected a list of values; found 'abc'."),
        ([{"name": "a", "parameters": {"type": "object", "properties": {}, "required": True}}],
         "tools[0].parameters.required: expected a list of names; found True."),
    ],
)  # fmt: skip
def test_errors_name_the_place(tools: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        read_tools(tools)
    assert str(error.value) == message


@given(ANY_JSON)
def test_any_json_reads_or_is_refused_in_our_words(value: Any) -> None:
    try:
        tools = read_tools([{"name": "f", "parameters": value}, *([value] if looks_like_a_tool(value) else [])])
    except DataError as error:
        assert "expected" in str(error) and "found" in str(error)
    else:
        assert tools[0].name == "f" and all(isinstance(parameter, Parameter) for tool in tools for parameter in tool.parameters)


def test_tools_as_chat_templates_expect_them() -> None:
    told = {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}
    bare, mcp = ({"name": "a", key: {"type": "object"}} for key in ("parameters", "inputSchema"))
    assert as_functions([told, bare, mcp]) == [told] * 3


def test_a_tool_given_twice_counts_once_and_a_built_in_kind_is_passed_over() -> None:
    tools = [{"name": "a"}, {"type": "web_search"}, {"name": "a"}, {"type": "web_search", "filters": {}}]
    assert [tool.name for tool in read_tools(tools)] == ["a"]
    assert as_functions(tools[1:2]) == [{"type": "web_search"}]
