"""One JSON list of calls."""

from paceline.toolcalls.json_calls import JsonFormat

__all__ = ["LIST"]

LIST = JsonFormat("[", ", ", "]", sign=r'\[\s*\{\s*"name"', sure=2)
