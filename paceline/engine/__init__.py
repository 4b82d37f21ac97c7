"""Decodes requests with one model: drafting, rounds, the cache, what it all took."""

from paceline.engine.engine import Controller, Drafter, Engine

__all__ = ["Controller", "Drafter", "Engine"]
