"""Decodes requests with one model: drafting, rounds, the cache, what it all took."""

from paceline.engine.engine import Engine

__all__ = ["Engine"]
