"""``sidecar await``: for scripts and start hooks that must not go on before the sidecar is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import Seconds, Where, where_options

if TYPE_CHECKING:
    from sidecar.cli.client import Client

PAGES = {"started": "/health/startup", "ready": "/health/ready", "live": "/health/live"}


@click.command("await")
@click.option("--for", "state", type=click.Choice(list(PAGES)), default="started", show_default=True, help="What for.")
@click.option("--timeout", type=Seconds(), default="30s", show_default=True, help="How long to wait at most.")
@where_options
def await_(state: str, timeout: float, where: Where) -> None:
    """Wait until the sidecar has started, is ready, or lives; also for one that is yet to be started.

    \b
    Example:
      sidecar await --for ready --timeout 10s
    """
    from sidecar.cli.client import Problem, Unreachable, wait_for
    from sidecar.clock import Clock

    missing = ""

    def there() -> bool:
        nonlocal missing
        try:
            # Anew each time: which ports it takes is known when it runs.
            status, document = _find(where).ask("GET", PAGES[state])
        except Unreachable as problem:
            missing = problem.message.partition("\n")[0]
            return False
        missing = _closed_gates(document)
        return status == 200

    if not wait_for(there, timeout, Clock()):
        raise Problem(
            f"not {state} after {timeout:g} s: {missing}", "The sidecar's log may say more; --timeout waits longer."
        )


def _find(where: Where) -> Client:
    """The admin listener, or else the probes, which know as much of this."""
    from sidecar.cli.client import Client, Problem, admin_address, listen

    address = admin_address(where)
    if address is None or not address.port:
        address = listen(where).probes
    if address is None or not address.port:
        raise Problem(
            "neither listen.admin nor listen.probes is an address that is known beforehand",
            "Give one of them a port in the configuration, or name one with --admin HOST:PORT.",
        )
    return Client(address)


def _closed_gates(document: Any) -> str:
    """What readiness waits for, gate by gate."""
    gates = document.get("gates", ()) if isinstance(document, dict) else ()
    closed = [f"{gate['name']}: {gate['detail']}" for gate in gates if not gate["ok"]]
    return "; ".join(closed) or "it answers something else than a sidecar does"
