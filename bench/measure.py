"""What the kernel knows about a process and its children: processor time and memory (``proc(5)``)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """``pid`` and all that descends from it."""
    pids = [pid]
    for one in pids:
        for thread in Path(f"/proc/{one}/task").iterdir():
            with suppress(FileNotFoundError):
                pids.extend(int(child) for child in (thread / "children").read_text().split())
    return pids


def cpu_seconds(pid: int) -> float:
    """User plus system time of ``pid`` and its children so far, seconds."""
    ticks = 0
    for one in tree(pid):
        # The command's name may hold blanks and brackets: fields are counted from behind its last bracket.
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def rss(pid: int) -> int:
    """Resident memory of ``pid`` and its children now, bytes; pages that they share count for each."""
    return sum(_status(one, "VmRSS:") for one in tree(pid))


def peak_rss(pid: int) -> int:
    """The largest resident memory of ``pid`` itself since `reset_peak`, bytes."""
    return _status(pid, "VmHWM:")


def reset_peak(pid: int) -> None:
    """Let the peak start again from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
