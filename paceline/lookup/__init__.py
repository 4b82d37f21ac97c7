"""Structures drafters share: trees of candidate tokens. No model and no torch in here."""
