"""The only room that touches transformers' internals: loading, the forward, the cache, attention, packed linears."""

from paceline.lm.kv import KV, Slot
from paceline.lm.lm import LM
from paceline.lm.load import load

__all__ = ["KV", "LM", "Slot", "load"]
