"""How much memory a process has had, as Linux counts it."""

from pathlib import Path


def resident() -> int:
    """Bytes of memory that this process has now."""
    return _bytes("VmRSS:")


def peak() -> int:
    """Most bytes of memory that this process has had since :func:`reset_peak`."""
    return _bytes("VmHWM:")


def reset_peak() -> None:
    """Begins to measure :func:`peak` anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _bytes(of: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(of)) * 1024
