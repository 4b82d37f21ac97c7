"""What may stand in a tool call: tools and their parameters, from every JSON in which they are commonly described.

Read are OpenAI's `tools` (`{"type": "function", "function": {…}}`) and bare functions, MCP tool lists (`inputSchema`), the
Berkeley leaderboard's functions (type "dict", "float") and flat maps of parameters (`{"a": {"type": "str"}}`). Of a JSON schema
only what helps to draft is kept: names, types, choices and nesting. It is no validator: what is not understood reads as "any".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from paceline.errors import DataError

__all__ = ["Parameter", "Tool", "as_functions", "listed_tools", "looks_like_a_tool", "read_tool", "read_tools"]

TYPES = {
    "string": "string", "str": "string", "char": "string", "integer": "integer", "int": "integer", "long": "integer",
    "number": "number", "float": "number", "double": "number", "boolean": "boolean", "bool": "boolean", "null": "null",
    "array": "array", "list": "array", "tuple": "array", "arraylist": "array",
    "object": "object", "dict": "object", "hashmap": "object",
}  # fmt: skip
INPUTS = ("parameters", "inputSchema", "input_schema")  # OpenAI and others; MCP; Anthropic
LEVELS = 32  # deeper nesting reads as any
MOST = 10_000  # schemas of one tool; references within references can multiply


@dataclass(frozen=True)
class Parameter:
    """One value of a call: an argument, a field of an object, or an array's items (named "").

    type: string, integer, number, boolean, null, array, object, or any, which also stands for types unknown here and for several
    at once. A type that is optional only because null is allowed counts as itself. enum: the values that are allowed, if told.
    items: of an array. properties: of an object, in the schema's order. format: as the schema has it, such as date-time.
    """

    name: str
    type: str = "any"
    enum: tuple[Any, ...] = ()
    items: "Parameter | None" = None
    properties: tuple["Parameter", ...] = ()
    required: bool = False
    format: str | None = None


@dataclass(frozen=True)
class Tool:
    """A function that may be called, and its arguments in the schema's order."""

    name: str
    parameters: tuple[Parameter, ...] = ()


def read_tools(value: Any, where: str = "tools") -> tuple[Tool, ...]:
    """Tools from a list of them, from one, or from `{"tools": [...]}` as MCP servers answer.

    Built-in kinds of a provider (`{"type": "web_search"}`) have no arguments of their own and are passed over, and the same tool
    given twice counts once. Raises DataError with the path inside the JSON where something is not as expected, and for two
    different tools of one name.
    """
    first: dict[str, tuple[int, Tool]] = {}
    for i, given in enumerate(listed_tools(value, where)):
        if is_built_in(given):
            continue
        tool = read_tool(given, f"{where}[{i}]")
        at, same = first.setdefault(tool.name, (i, tool))
        if same != tool:
            raise DataError(f"{where}[{i}]: expected a name of its own; found {tool.name!r}, the name of {where}[{at}].")
    return tuple(tool for _, tool in first.values())


def listed_tools(value: Any, where: str = "tools") -> list[Any]:
    """The tools as they stand, from a list of them, from one, or from `{"tools": [...]}`. Raises DataError for anything else."""
    if isinstance(value, Mapping):
        return listed_tools(value["tools"], f"{where}.tools") if "tools" in value else [value]
    return list(_a(Iterable, value, where, "a list of tools"))


def is_built_in(value: Any) -> bool:
    """True for a tool that its provider runs, told by its type alone."""
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        return False
    return value["type"] != "function" and not any(key in value for key in ("function", *INPUTS))


def looks_like_a_tool(value: Any) -> bool:
    """True for JSON that means to describe a tool, rightly or not."""
    if not isinstance(value, Mapping):
        return False
    return isinstance(value.get("function"), Mapping) or ("name" in value and any(key in value for key in INPUTS))


def read_tool(value: Any, where: str = "tool") -> Tool:
    """One tool. Raises DataError with the path inside the JSON."""
    tool = _a(Mapping, value, where, "a tool as a JSON object")
    if isinstance(tool.get("function"), Mapping):
        tool, where = tool["function"], f"{where}.function"
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{where}.name: expected the tool's name; found {_short(name)}.")
    key = next((key for key in INPUTS if tool.get(key)), None)
    return Tool(name, _arguments(tool[key], f"{where}.{key}") if key else ())


def as_functions(tools: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tools as chat templates expect them, `{"type": "function", "function": {…, "parameters": …}}`: a bare function is wrapped,
    what MCP calls inputSchema is called parameters, and a built-in kind stays as it is.
    """
    return [dict(tool) if "function" in tool or is_built_in(tool) else {"type": "function", "function": _named(tool)}
            for tool in tools]


def _named(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"parameters" if key in INPUTS else key: value for key, value in tool.items()}


def _arguments(value: Any, where: str) -> tuple[Parameter, ...]:
    schema = _a(Mapping, value, where, "a JSON schema of type object")
    if "properties" not in schema and all(isinstance(v, Mapping) for v in schema.values()):  # a flat map
        schema = {"properties": schema, "required": list(schema)}
    read = Reader(schema).parameter("", {"type": "object", **schema}, where)
    if read.type != "object":
        raise DataError(f'{where}.type: expected "object", as arguments have names; found {_short(schema["type"])}.')
    return read.properties


@dataclass(frozen=True)
class Reader:
    """Reads the schemas below one root, which references (`$ref`) start from.

    refs: references that are being followed; one that comes back to itself reads as any. level: of nesting. made: schemas read.
    """

    root: Mapping[str, Any]
    refs: frozenset[str] = frozenset()
    level: int = 0
    made: Iterator[int] = field(default_factory=count)

    def parameter(self, name: str, value: Any, where: str, required: bool = False) -> Parameter:
        """One schema and what is in it."""
        if next(self.made) >= MOST:
            raise DataError(f"{where}: expected at most {MOST} values, with every reference written out; found more.")
        if isinstance(value, bool) or self.level == LEVELS:  # true: anything goes
            return Parameter(name, required=required)
        schema, refs = self._resolved(_a(Mapping, value, where, "a JSON schema"), where)
        inner = replace(self, refs=refs, level=self.level + 1)
        enum = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
        kind = _type(schema, where)
        items = schema.get("items") if kind == "array" else None
        items = None if isinstance(items, list) else items  # one schema a place, as older drafts have it, says nothing of all
        return Parameter(
            name, kind, tuple(_a(Sequence, enum, f"{where}.enum", "a list of values")), required=required,
            items=None if items is None else inner.parameter("", items, f"{where}.items"),
            properties=inner.properties(schema, where) if kind == "object" else (),
            format=schema["format"] if isinstance(schema.get("format"), str) else None,
        )  # fmt: skip

    def properties(self, schema: Mapping[str, Any], where: str) -> tuple[Parameter, ...]:
        """The fields of an object."""
        required = schema.get("required") or ()
        if not isinstance(required, list | tuple) or not all(isinstance(name, str) for name in required):
            raise DataError(f"{where}.required: expected a list of names; found {_short(required)}.")
        fields = _a(Mapping, schema.get("properties") or {}, f"{where}.properties", "an object of name: schema")
        return tuple(self.parameter(name, value, f"{where}.properties.{name}", name in required)
                     for name, value in fields.items())

    def _resolved(self, schema: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], frozenset[str]]:
        """The schema that is meant where it stands elsewhere or is the only choice beside null, and all references open there."""
        refs = self.refs
        while True:
            reference = schema.get("$ref")
            if isinstance(reference, str):
                beside = {k: v for k, v in schema.items() if k != "$ref"}
                schema = beside if reference in refs else {**self._at(reference), **beside}
                refs |= {reference}
                continue
            word = next((w for w in ("anyOf", "oneOf", "allOf") if w in schema and "type" not in schema), None)
            if word is None:
                return schema, refs
            choices = _a(Sequence, schema[word], f"{where}.{word}", "a list of schemas")
            left = [choice for choice in choices if isinstance(choice, Mapping) and choice.get("type") != "null"]
            rest = {k: v for k, v in schema.items() if k != word}
            schema = {**left[0], **rest} if len(left) == 1 else rest

    def _at(self, reference: str) -> Mapping[str, Any]:
        """What a reference into the root names; {} for any other, so that it reads as any."""
        found: Any = self.root
        head, *steps = reference.split("/")
        for step in steps if head == "#" else ["?"]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}


def _type(schema: Mapping[str, Any], where: str) -> str:
    """The one type that is allowed beside null; where none is told, what the other words show."""
    told = schema.get("type")
    kinds = told if isinstance(told, list) else [] if told is None else [told]
    if not all(isinstance(kind, str) for kind in kinds):
        raise DataError(f'{where}.type: expected the name of a type, such as "string", or a list of them; found {_short(told)}.')
    names = [TYPES.get(kind.lower().split("(")[0].split("[")[0], "any") for kind in kinds]
    names = [name for name in names if name != "null"] or names
    if names:
        return names[0] if len(set(names)) == 1 else "any"
    return "object" if "properties" in schema else "array" if "items" in schema else "any"


def _a(kind: Any, value: Any, where: str, expected: str) -> Any:
    """The value, if it is of this kind; text is no sequence here."""
    if not isinstance(value, kind) or isinstance(value, str):
        raise DataError(f"{where}: expected {expected}; found {_short(value)}.")
    return value


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
