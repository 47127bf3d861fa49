"""What a sidecar says of itself: to probes, to whoever scrapes its metrics, and to the admin API.

The parts of ``admin`` know nothing of how a sidecar is made. They are handed questions, and here is who knows the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import sidecar
from sidecar.admin.actions import Actions
from sidecar.admin.health import Gate, Probes
from sidecar.admin.metrics import Sources
from sidecar.clock import Clock
from sidecar.config.schema import Config
from sidecar.discovery.source import stale_seconds
from sidecar.exchange.local import Answer, Handler
from sidecar.exchange.replies import rfc3339
from sidecar.http.head import Request
from sidecar.resilience.breaker import NAMES
from sidecar.telemetry.export.writer import Writer

if TYPE_CHECKING:
    from sidecar.admin.documents import DependencyAttributes, RegistryAttributes
    from sidecar.app import Sidecar


class Answers:
    """Those of one sidecar. ``actions`` are what the admin API can do to whoever runs it."""

    def __init__(
        self,
        of: Sidecar,
        clock: Clock,
        actions: Actions | None,
        writer: Writer | None,
        new_request_id: Callable[[], bytes],
    ) -> None:
        self._of = of
        self._clock = clock
        self._actions = actions
        self._new_request_id = new_request_id
        self._fingerprinted: tuple[Config, str] | None = None
        self._probes = Probes(
            Sources(
                stats=lambda: of.assembly.all_stats(),
                services=lambda: of.assembly.all_services(),
                connections=self._connections,
                http2=lambda: [(listener.name, listener.http2.ended) for listener in of.exchanging()],
                reload_successful=lambda: of.reload_successful,
                memory=of.guards.memory,
                lag=lambda: of.guards.lag,
                registry=self._staleness,
                checks=lambda: of.checks.health.counts() if of.checks.health is not None else (),
                dependencies=lambda: (
                    [(name, one.verdict.well) for name, one in of.checks.health.dependencies.items()]
                    if of.checks.health
                    else ()
                ),
                passing=lambda: of.assembly.passing(),
                log_lines_dropped=writer.dropped if writer is not None else tuple,
            ),
            {"configuration": lambda: (True, "loaded"), "listeners": self._bound, "registry": of.registries.seen},
            self._gates,
            clock,
            self._name,
            sidecar.__version__,
            new_request_id,
            self._dependencies,
        )

    def probes(self, head: Request, answer: Callable[[Answer], None]) -> None:
        """Answers health and metrics."""
        answer(self._probes.handle(head))

    def new_admin(self) -> Handler:
        """What answers on the admin listener."""
        from sidecar.admin.api import About, Api  # A sidecar without the listener does without its memory.
        from sidecar.admin.resources import Snapshots

        of = self._of
        snapshots = Snapshots(
            services=lambda: of.assembly.all_services(),
            passing=lambda: of.assembly.passing(),
            stats=lambda: of.assembly.all_stats(),
            plans=lambda: of.assembly.plans,
            matches=lambda: {route.name: route.match for route in of.config.routes},
            entries=lambda told: of.entries(told),
            dependencies=self._dependencies,
        )
        about = About(sidecar.__version__, self._name, lambda: of.draining, self._fingerprint, self._registry)
        return Api(
            about, snapshots, self._actions, self._probes, self._clock, self._admin_host, self._new_request_id
        ).handle

    def _name(self) -> str:
        return self._of.config.service.name

    def _fingerprint(self) -> str:
        """Made once for each configuration: a large one takes some milliseconds."""
        from sidecar.config.fingerprint import fingerprint

        config = self._of.config
        if self._fingerprinted is None or self._fingerprinted[0] is not config:
            self._fingerprinted = config, fingerprint(config)
        return self._fingerprinted[1]

    def _gates(self) -> dict[str, Gate]:
        of = self._of
        gates: dict[str, Gate] = {"drain": lambda: (not of.draining, "draining" if of.draining else "not draining")}
        return gates if of.checks.health is None else {**gates, **of.checks.health.gates()}

    def _dependencies(self) -> list[DependencyAttributes]:
        health = self._of.checks.health
        if health is None:
            return []
        from sidecar.admin.documents import DependencyAttributes

        now, wall = self._clock.now(), self._clock.wall()
        return [
            DependencyAttributes(
                name=name,
                kind=one.settings.kind,
                address=one.address,
                healthy=one.verdict.well,
                gates=one.settings.gates,
                since=rfc3339(wall - (now - one.since)) if one.verdict.well is not None else None,
                reason=one.verdict.reason,
                breaker=NAMES[one.breaker.state] if one.breaker is not None else None,
                latency_seconds=round(one.monitor.latency, 6) if one.monitor.latency is not None else None,
            )
            for name, one in health.dependencies.items()
        ]

    def _staleness(self) -> tuple[float, bool] | None:
        state = self._of.registries.state()
        return (stale_seconds(state, self._clock.now()), state.registered) if state is not None else None

    def _registry(self) -> RegistryAttributes | None:
        from sidecar.admin.documents import RegistryAttributes

        state = self._of.registries.state()
        if state is None:
            return None
        return RegistryAttributes(
            kind=self._of.config.registry.kind,
            seen=state.seen,
            registered=state.registered,
            stale_seconds=round(stale_seconds(state, self._clock.now()), 3),
            trouble=state.trouble,
        )

    def _admin_host(self) -> str | None:
        bound = self._of.bound().get("admin")
        return bound[0] if bound is not None else None

    def _bound(self) -> tuple[bool, str]:
        missing = self._of.listeners.keys() - self._of.bound().keys()
        return not missing, f"waiting for {', '.join(sorted(missing))}" if missing else "bound"

    def _connections(self) -> Iterator[tuple[str, str, int]]:
        for listener in self._of.exchanging():
            yield "downstream", listener.name, len(listener.connections)
        assembly = self._of.assembly
        called = [*assembly.all_services(), *(("outbound", service) for service in assembly.passing())]
        for direction, service in called:
            yield "upstream", direction, sum(pool.open for e in service.listed for pool in e.pools)
