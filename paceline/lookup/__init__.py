"""Structures drafters share: trees of candidate tokens. Pure Python; no model in here."""
