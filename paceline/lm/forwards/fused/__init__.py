"""The compiled forward: a whole step in one call into C++."""

from paceline.lm.forwards.fused.forward import Fused, build, fits

__all__ = ["Fused", "build", "fits"]
