"""The processor and accelerator at hand, by name: what measurements, checks and compiled code hold for."""

import platform
from pathlib import Path

import torch

__all__ = ["accelerator", "processor", "processor_details"]


def processor() -> str:
    """Name of this machine's processor."""
    named = [line for line in _told() if line.startswith("model name")]
    return named[0].split(":")[1].strip() if named else platform.processor() or platform.machine()


def processor_details() -> str:
    """All that the system tells of what the processor can do."""
    return "\n".join(sorted(set(_told()))) or f"{platform.machine()} {platform.processor()}"


def accelerator() -> str | None:
    """Name of the graphics processor; None without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _told() -> list[str]:
    """The lines of the system's description that tell processors apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.startswith(("flags", "Features", "model name"))]
