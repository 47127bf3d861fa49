"""The shop as it runs: starts every instance beside its sidecar, again when one has died, and looks at them all.

An instance is one process tree, ``sidecar run --service NAME ... -- COMMAND``. Nobody is told an address: the
applications call names, and the sidecars find each other in a registry of the demo's own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sidecar.clock import Clock
from sidecar.demo import places
from sidecar.demo.crew import Crew, Ended, last_words
from sidecar.demo.readings import Readers, Snapshot
from sidecar.demo.shop import moods
from sidecar.demo.topology import RATE, SETTINGS, Instance
from sidecar.demo.wishes import Wish, mood, told

RESTART_SECONDS = 4.0
"""How long an instance that has died is missed before it is started again."""
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Failed(Exception):
    """The mesh cannot run; the message is for whoever started it."""


class Mesh:
    """All instances, with all that they write in ``directory``. Forks, so it must be made before there is a thread."""

    def __init__(self, directory: Path, instances: tuple[Instance, ...], clock: Clock) -> None:
        self.instances = instances
        self.places: dict[str, places.Place] = {}
        """Of those who run and have registered, by name."""
        self._clock = clock
        self._directory = directory
        self._registry = str(directory / "registry")
        self._names: dict[str, str] = {}
        self._due: dict[str, float] = {}
        self._by_name = {instance.name: instance for instance in instances}
        self._steady: set[str] = set()
        """Those who have been up: their death is part of the show."""
        self.crew = Crew(directory, clock)
        self._readers = Readers(len(instances))

    # Start

    def start(self) -> None:
        """Starts all but the customers, who come when there is somebody to serve them. Raises ``OSError``."""
        (self._directory / "sidecar.toml").write_text(SETTINGS.format(registry=self._registry))
        for instance in self.instances:
            moods.write(self._mood(instance.name), instance.mood)
            if instance.serves:
                self._start(instance)

    def _start(self, instance: Instance) -> None:
        config = self._directory / "sidecar.toml"
        ours = ("--config", str(config), "--service", instance.service, *places.flags(instance.serves))
        command = (sys.executable, "-m", "sidecar", "run", *ours, "--", *instance.command)
        self.crew.start(instance.name, command, self._environ(instance.name))

    def _environ(self, name: str) -> dict[str, str]:
        # A sidecar or a proxy that is configured on this machine is not meant for these.
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("SIDECAR_") and key.lower() not in _PROXIES
        }
        code = str(Path(__file__).resolve().parents[2])
        return inherited | {
            # They work elsewhere than we do, and are to be of the same code.
            "PYTHONPATH": os.pathsep.join(filter(None, (code, os.environ.get("PYTHONPATH", "")))),
            "SHOP_INSTANCE": name,
            "SHOP_MOOD": str(self._mood(name)),
            "SHOP_RATE": str(RATE),
        }

    def _mood(self, name: str) -> Path:
        return self._directory / f"{name}.mood"

    def waiting(self) -> list[str]:
        """Those who do not answer yet; the customers are started when all others do. Raises :class:`Failed` if one has
        ended."""
        for ended in self.crew.ended():
            log = self.crew.log(ended.name)
            raise Failed(
                f"{ended.name} (process {ended.pid}) {_how(ended)} at the start. What it said last:\n\n{last_words(log)}"
            )
        self._find()
        late = []
        for instance in self.instances:
            place = self.places.get(instance.name)
            if place is None or not (
                self._readers.serves(place.inbound) if instance.serves else self._readers.ready(place.admin)
            ):
                late.append(instance.name)
            else:
                self._steady.add(instance.name)
        asking = [instance for instance in self.instances if not instance.serves and instance.name in late]
        if len(late) == len(asking):
            for instance in asking:
                if instance.name not in self.crew.pids:
                    self._start(instance)
        return late

    # Life

    def look(self) -> Snapshot:
        """What all say who answer."""
        self._find()
        pids = self.crew.pids
        admins = {name: (pids[name], place.admin) for name, place in self.places.items() if name in pids}
        return Snapshot(self._clock.now(), self._readers.read(admins, self._names))

    def _find(self) -> None:
        try:
            self.places = places.find(self._registry, self.crew.pids)
        except OSError:
            return  # Nobody has made it yet, or somebody has removed it; the sidecars put it back.
        for name, place in self.places.items():
            self._names[place.inbound] = name

    def mend(self) -> Iterator[str]:
        """Starts again who is due; says who has ended and who is back."""
        for ended in self.crew.ended():
            if ended.name == "guardian":
                yield (
                    "the demo's guardian was killed: it still ends in order by Ctrl-C, but if the demo is killed as well,"
                    " the shop outlives it"
                )
                continue
            self._due[ended.name] = self._clock.now() + RESTART_SECONDS
            yield f"{_fate(ended)} (again in {RESTART_SECONDS:.0f} s)"
        for name, due in list(self._due.items()):
            if self._clock.now() >= due:
                try:
                    self._start(self._by_name[name])
                except OSError as error:
                    self._due[name] = self._clock.now() + RESTART_SECONDS
                    yield f"{name} cannot be started: {error} (again in {RESTART_SECONDS:.0f} s)"
                    continue
                del self._due[name]
                yield f"{name} is started again"

    def missing(self, name: str) -> float | None:
        """Seconds until it is started again; ``None`` if it runs."""
        due = self._due.get(name)
        return None if due is None else max(0.0, due - self._clock.now())

    def fulfil(self, wish: Wish) -> str:
        """Does it, and says what was done."""
        if wish.verb == "kill":
            if wish.name not in self.crew.pids:
                return f"{wish.name} is dead already"
            self.crew.kill(wish.name)
        else:
            moods.write(self._mood(wish.name), mood(wish.verb, self._by_name[wish.name].mood))
        return told(wish)

    def end(self) -> None:
        """Ends all."""
        self._readers.close()
        self.crew.end()


def _how(ended: Ended) -> str:
    if ended.code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-ended.code).name}"
        return f"was ended by signal {-ended.code}"
    return f"ended with exit code {ended.code}"


def _fate(ended: Ended) -> str:
    """A sidecar returns its application's exit code, and 128 + n for a signal, as shells do."""
    if ended.code < 0:
        return f"the sidecar of {ended.name} {_how(ended)}: its guardian ends the application"
    how = _how(ended._replace(code=128 - ended.code) if ended.code > 128 else ended)
    return f"the application of {ended.name} {how}: its sidecar has ended with it"
