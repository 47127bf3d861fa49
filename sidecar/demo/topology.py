"""Who there is in the shop, what each is written with, and what all their sidecars go by."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sidecar.demo.shop.moods import Mood

RATE = 30
"""Pages a second that the customers ask for."""

SETTINGS = """\
# What all sidecars of the demo go by; what is not here is as always.
[registry]
kind = "local"

[registry.local]
directory = "{registry}"

[outbound]
passthrough = "none"             # there is nobody outside

[drain]
delay = "0s"                     # when the demo ends, nobody is left who would have to be told to go elsewhere

[defaults]
retry = {{ initial = "25ms" }}
breaker = {{ open = "8s" }}        # 30 s unless said; short, so that one sees it close again

[services.web]
breaker = false                  # there is nobody else to ask, and half a shop is better than none

[services.orders]
timeout = "5s"

[services.payments]
attempt_timeout = "300ms"        # a late answer is not waited for: the other instance may be quicker

[services.catalog]
attempt_timeout = "300ms"
"""


Command = tuple[str, ...]


class Instance(NamedTuple):
    """One application and its sidecar. ``mood`` is how it usually is; whoever does not serve asks only."""

    name: str
    service: str
    style: str
    command: Command
    mood: Mood = Mood()
    serves: bool = True


def _python(module: str) -> Command:
    return sys.executable, "-m", f"sidecar.demo.shop.{module}"


def shop() -> tuple[Instance, ...]:
    """The instances, in the order in which calls go through them; each as this machine can run it."""
    if find_spec("aiohttp") is not None:
        web, front = "aiohttp", _python("web")
    else:
        web, front = "WSGI", _python("web_wsgi")
    node = shutil.which("node")
    shelf: Command
    if node is not None:
        catalog, shelf = "Node", (node, str(Path(__file__).parent / "shop" / "catalog.js"))
    else:
        catalog, shelf = "WSGI", _python("catalog")
    payments = _python("payments")
    return (
        Instance("customers", "customers", "threads", _python("customers"), serves=False),
        Instance("web", "web", web, front),
        Instance("orders", "orders", "WSGI", _python("orders")),
        Instance("payments-1", "payments", "http.server", payments),
        Instance("payments-2", "payments", "http.server", payments, Mood(fail_share=0.05)),
        Instance("catalog", "catalog", catalog, shelf, Mood(slow=0.6, slow_share=0.08)),
    )


def missing(instances: tuple[Instance, ...]) -> list[str]:
    """What this machine lacks, and what stands in for it: a sentence each."""
    styles = {instance.name: instance.style for instance in instances}
    told = []
    if styles["web"] != "aiohttp":
        told.append("aiohttp is not installed: web is a WSGI application (pip install 'sidecar-mesh[demo]')")
    if styles["catalog"] != "Node":
        told.append("there is no node in PATH: catalog is a WSGI application")
    return told
