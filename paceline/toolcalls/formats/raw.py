"""Bare JSON objects, one a line: what is taken for granted where a prompt shows nothing else."""

from paceline.toolcalls.json_calls import JsonFormat

__all__ = ["RAW"]

RAW = JsonFormat("", "\n", "", sign="", sure=1)
