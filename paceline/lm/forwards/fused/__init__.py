"""The compiled forward: a whole step in one call into C++."""

from paceline.lm.forwards.fused.forward import Fused, build, fits

__all__ = ["ORDER", "PACKS", "Fused", "build", "fits"]

ORDER, PACKS = 10, True
