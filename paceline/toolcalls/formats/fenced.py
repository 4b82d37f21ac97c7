"""A fenced block with one call a line, as ToolSpec's prompts for API-Bank ask for them."""

from paceline.toolcalls.json_calls import JsonFormat

__all__ = ["FENCED"]

FENCED = JsonFormat("```<tool_call>\n", "\n", "\n</tool_call>\n```", sign="```<tool_call>", sure=5, likelier="parameters")
