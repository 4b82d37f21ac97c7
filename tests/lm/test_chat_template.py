"""Chat templates run as transformers runs them, in a sandbox."""

from __future__ import annotations

import re

import pytest
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from transformers.utils.chat_template_utils import render_jinja_template

from paceline.lm.chat_template import rendered

SAID = [{"role": "user", "content": "<é> & 'x'"}, {"role": "assistant", "content": "ho", "more": {"b": [1], "a": None}}]
TEMPLATES = [
    "{{ bos_token }}{% for m in messages %}\n  {%- if loop.last %}{% break %}{% endif %}\n{{ m | tojson }}\n  {% endfor %}\n",
    "{{ messages[1] | tojson(indent=2) }}{{ messages | tojson(separators=(',', ':')) }}{{ undefined }}{{ tools is none }}",
    "{% for m in messages %}\n    {%- generation -%}\n  {{ m.content }}  {%- endgeneration %} |{% endfor %}\n",
]  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
def test_as_transformers_renders_it(template: str) -> None:
    names = {"bos_token": "<s>", "add_generation_prompt": True}
    theirs = render_jinja_template([SAID], chat_template=template, **names)[0][0]
    assert rendered(template, messages=SAID, tools=None, **names) == theirs


def test_names_that_templates_call_and_what_they_may_not() -> None:
    assert re.fullmatch(r"\d{4}", rendered("{{ strftime_now('%Y') }}"))
    with pytest.raises(TemplateError, match="^no system role$"):
        rendered("{{ raise_exception('no system role') }}")
    with pytest.raises(SecurityError):
        rendered("{{ messages.append(1) }}", messages=[])
    with pytest.raises(SecurityError):
        rendered("{{ ''.__class__.__mro__ }}")
