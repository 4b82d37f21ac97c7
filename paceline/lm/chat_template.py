"""Chat templates: programs in jinja2 that a model's maker wrote, run in its sandbox, with the names that such programs use."""

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any

__all__ = ["rendered"]

# Marks what the model itself says, for training; it prints nothing.
GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


def rendered(template: str, **names: Any) -> str:
    """The text of a conversation. names: what the template may read, as transformers gives it: `messages`, `tools`,
    `add_generation_prompt`, `bos_token` and others. Raises what jinja2 and the template raise.
    """
    return compiled(template).render(**names)


@lru_cache(maxsize=16)
def compiled(template: str) -> Any:
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    made.filters["tojson"] = as_json
    made.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    return made.from_string(GENERATION.sub(lambda tag: f"{tag[1]}{'endif' if tag[2] else 'if true'}{tag[3]}", template))


def as_json(value: Any, ensure_ascii: bool = False, **others: Any) -> str:
    """Jinja's own filter would write < and & as HTML wants them."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **others)


def refuse(reason: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(reason)
