"""Where the figures were taken: cores, versions, and which of the tools are here."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])

LOAD = "load average at start"

DEBIAN_TOOLS = {
    "wrk": "wrk",
    "nginx": "nginx",
    "haproxy": "haproxy",
    "h2load": "nghttp2-client",
    "nghttp": "nghttp2-client",
    "nghttpd": "nghttp2-server",
}
"""Programs, and the packages that they come in."""


def find(program: str) -> str | None:
    """Path of a program, looked for among the system's daemons too, which are not on everybody's PATH."""
    return shutil.which(program, path=_SYSTEM_PATH)


def first_line(*command: str) -> str:
    """First line that ``command`` says (to either stream); empty if it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")


def install_missing() -> str | None:
    """Install what is missing from Debian's archive; says why not, if not."""
    missing = sorted({package for tool, package in DEBIAN_TOOLS.items() if find(tool) is None})
    if not missing:
        return None
    if os.geteuid() != 0 or find("apt-get") is None:
        return f"--install needs root and apt-get; missing: {', '.join(missing)}"
    # Runlevel 1 keeps the packages from starting their daemons, which would compete for the cores.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            return f"{' '.join(command)} failed with status {done.returncode}"
    return None


def two_cores() -> tuple[int, int]:
    """A core for origin and load generator, and one for the proxy; the same one twice where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[min(1, len(cores) - 1)]


def revision() -> str:
    """The commit that is measured, and whether files differ from it; ``unknown`` outside of a checkout."""
    commit = first_line("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    if not re.fullmatch("[0-9a-f]{12,}", commit):
        return "unknown"
    return commit + " with changes" * bool(first_line("git", "-C", str(ROOT), "status", "--porcelain"))


def description() -> dict[str, str]:
    """What must be known to compare these figures with others."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "revision": revision(),
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.1f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        LOAD: f"{os.getloadavg()[0]:.1f}",
    }
