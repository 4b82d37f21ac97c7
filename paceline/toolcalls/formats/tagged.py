"""One `<tool_call>` block a call, as Hermes and Qwen write them."""

from paceline.toolcalls.json_calls import JsonFormat

__all__ = ["TAGGED"]

TAGGED = JsonFormat("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>", sign="<tool_call>", sure=4)
