"""Whole jobs, one file each: a frozen dataclass ``Config`` and ``run(config) -> Path``."""
