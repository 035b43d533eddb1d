"""What this machine offers for classifying: cores, memory, GPUs, bfloat16. It imports nothing heavy."""

import os
from pathlib import Path

UNLIMITED = 2**63


def cores() -> int:
    """Cores that this process may use: those of its affinity mask (Slurm sets it), or its container's quota if less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def free_memory() -> int:
    """Bytes of memory that this process can still allocate: of the machine, or of its container if less."""
    machine = UNLIMITED
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            machine = int(line.split()[1]) * 1024
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        return min(machine, int(limit) - int(used))
    return machine


def gpus() -> int:
    """Number of NVIDIA GPUs that a program started here would see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1", "NoDevFiles")])
    driver = Path("/proc/driver/nvidia/gpus")
    return len(list(driver.iterdir())) if driver.is_dir() else 0


def has_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16 (AVX-512 BF16 or AMX)."""
    flags = _read("/proc/cpuinfo").split("flags", 1)[-1].split("\n", 1)[0].split()
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def _read(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError:
        return ""  # not Linux, or an older control group
