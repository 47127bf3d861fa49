"""All that is asked after, together: made and changed as the configuration says, started and ended with the sidecar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from sidecar.clock import Clock, Random
from sidecar.health.application import IMPLIED, Application
from sidecar.health.dependencies import Dependency
from sidecar.health.monitor import Counts
from sidecar.health.peers import Peers
from sidecar.health.pool import Pool
from sidecar.health.settings import Application as ApplicationSettings
from sidecar.health.settings import Dependency as DependencySettings
from sidecar.health.settings import Peers as PeersSettings
from sidecar.model import Endpoint

log = logging.getLogger("sidecar.health")


class Health:
    """``changed`` is told a service of which an endpoint is held ill or well now, ``registration`` that the application's
    health is another."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        pool: Pool,
        changed: Callable[[str], None],
        registration: Callable[[], None],
    ) -> None:
        self._parts = (loop, clock, random, pool)
        self._registration = registration
        self.application: Application | None = None
        self.dependencies: dict[str, Dependency] = {}
        self.peers = Peers(loop, clock, random, pool, changed)
        self._started = False

    def follow_application(
        self, settings: ApplicationSettings | None, implied: bool, app: tuple[str, int] | None
    ) -> None:
        """``settings`` as configured; without them it is asked all the same where that is ``implied``."""
        wanted = settings if settings is not None else IMPLIED if implied else None
        if app is None or wanted is None or wanted.kind == "none":
            wanted = None
        former, place = self.application, app or ("", 0)
        asked_for = settings is not None
        if former is not None:
            if (former.settings, former.place, former.asked_for) == (wanted, place, asked_for):
                return
            former.monitor.close()
            self.application = None
        if wanted is not None:
            self.application = Application(wanted, place, asked_for, *self._parts, self._application_heard)
            if former is not None and former.place == place:
                self.application.verdict.inherit(former.verdict)
            if self._started:
                self.application.monitor.start()

    def follow_dependencies(self, wanted: Mapping[str, DependencySettings]) -> None:
        """Those that are as they were go on."""
        former = self.dependencies
        self.dependencies = {
            name: former[name]
            if name in former and former[name].settings == settings
            else Dependency(name, settings, *self._parts, _dependency_heard)
            for name, settings in wanted.items()
        }
        for name, dependency in former.items():
            now = self.dependencies.get(name)
            if now is not dependency:
                dependency.monitor.close()
                if now is not None:
                    now.inherit(dependency)
        if self._started:
            self._start_dependencies()

    def follow_peers(self, name: str, settings: PeersSettings | None, listed: Sequence[Endpoint]) -> None:
        """As ``Peers.follow``."""
        self.peers.follow(name, settings, listed)

    @property
    def trouble(self) -> str:
        """Why others should not be sent to our application, empty if they may be."""
        return self.application.trouble if self.application is not None else ""

    def gates(self) -> Mapping[str, Callable[[], tuple[bool, str]]]:
        """What readiness asks here."""
        gates = {}
        if self.application is not None and self.application.asked_for:
            gates["application"] = self.application.gate
        for name, dependency in self.dependencies.items():
            if dependency.settings.gates:
                gates[f"dependency {name}"] = dependency.gate
        return gates

    def counts(self) -> Iterator[tuple[str, str, Counts]]:
        """Whose answers, the name of the service or dependency, and how many there were."""
        if self.application is not None:
            yield "application", "", self.application.counts
        for name, counts in self.peers.counts():
            yield "peers", name, counts
        for name, dependency in self.dependencies.items():
            yield "dependency", name, dependency.counts

    def start(self) -> None:
        self._started = True
        if self.application is not None:
            self.application.monitor.start()
        self.peers.start()
        self._start_dependencies()

    def _start_dependencies(self) -> None:
        for dependency in self.dependencies.values():
            dependency.monitor.start()

    def close(self) -> None:
        if self.application is not None:
            self.application.monitor.close()
        self.peers.close()
        for dependency in self.dependencies.values():
            dependency.monitor.close()

    def _application_heard(self, application: Application) -> None:
        if application.trouble:
            log.warning("%s", application.trouble)
        else:
            log.info("the application is well")
        self._registration()


def _dependency_heard(dependency: Dependency) -> None:
    if dependency.verdict.well:
        log.info("dependency %s is well", dependency.name)
    else:
        log.warning("dependency %s is ill: %s", dependency.name, dependency.verdict.reason)
