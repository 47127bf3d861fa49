"""Reading the configuration again while requests run: on SIGHUP, when the admin API is asked to, and when the file changes.

A configuration is read and checked in a thread, and nothing is touched before it is known to be good; then the sidecar
takes it over at once. A bad one leaves the old one running, and says so in the log, in the metric
``sidecar_config_last_reload_successful`` and to whoever asked. There is one reload at a time; whoever asks meanwhile is
served by the next, for the file may have changed since the running one read it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from sidecar.app import Draining, Sidecar
from sidecar.config.load import ConfigError, Loaded
from sidecar.config.watch import Watch
from sidecar.telemetry.log import Settings as LogSettings

if TYPE_CHECKING:
    from sidecar.config.effective import Entry

LOOK_SECONDS: Final = 1.0
"""How often the file is looked at; a change is read with the second look that sees it at rest."""
LINES: Final = 50
"""How many changes are logged one by one."""

FIXED: Final = ("registry",)
"""What cannot change while a sidecar runs: who is found by one registry is unknown to another."""
TOLD: Final = ("service.app", "listen.outbound", "listen.admin")
"""What an application that we have started was told, and cannot be told anew."""

Done = Callable[[Sequence[str]], None]
"""Told the problems for which the old configuration runs on; none: the new one runs."""

log = logging.getLogger("sidecar.reload")


class Reloader:
    """``read`` reads the configuration anew (``ConfigError``), ``log_by`` changes how the process logs, ``fixed`` are the
    keys that cannot change; ``loaded`` is the configuration that runs."""

    def __init__(
        self,
        sidecar: Sidecar,
        loaded: Loaded,
        read: Callable[[], Loaded],
        log_by: Callable[[LogSettings], None],
        fixed: Sequence[str] = FIXED,
    ) -> None:
        self.loaded = loaded
        self.problems: Sequence[str] = ()
        """Why the configuration that was read last does not run; empty if it does."""
        self._sidecar = sidecar
        self._read = read
        self._log_by = log_by
        self._fixed = fixed
        self._asked: list[tuple[str, Done]] = []
        self._task: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._entries: tuple[Loaded, asyncio.Task[list[Entry]]] | None = None

    def request(self, cause: str, done: Done = lambda problems: None) -> None:
        """Reads the configuration as soon as the reload that runs, if any, has ended. ``cause`` is for the log."""
        self._asked.append((cause, done))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    def entries(self, told: Callable[[Sequence[Entry]], None]) -> None:
        """Tells ``told`` every value that is in effect and where it was written: worked out once for a configuration, in
        a thread, since a large one takes longer than any request should wait."""
        loaded = self.loaded
        if self._entries is None or self._entries[0] is not loaded:
            work = asyncio.get_running_loop().create_task(asyncio.to_thread(loaded.entries))
            self._entries = loaded, work
        work = self._entries[1]
        work.add_done_callback(lambda done: told(done.result()) if not done.cancelled() else None)

    def follow(self, watch: Watch) -> None:
        """Reloads whenever the file that is watched has changed, until ``close``."""
        self._watching = asyncio.get_running_loop().create_task(self._follow(watch))

    def close(self) -> None:
        for task in (self._watching, self._task, self._entries and self._entries[1]):
            if task is not None:
                task.cancel()

    async def _follow(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if watch.changed():
                self.request(f"{watch.path} has changed")

    async def _serve(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            cause = ", ".join(dict.fromkeys(cause for cause, _ in asked))
            try:
                self.problems = await self._reload(cause)
            except Exception:  # Whoever asked must have an answer, and the next reload may put it right.
                log.exception("a bug in reloading (%s); the configuration that ran before may run in part", cause)
                self.problems = ("a bug in the sidecar; its log tells more",)
                self._sidecar.reload_successful = False
            for _, done in asked:
                self._answer(done)
        self._task = None

    def _answer(self, done: Done) -> None:
        try:
            done(self.problems)
        except Exception:  # Whoever asked is wrong; the next one must find us at work.
            log.exception("a bug in telling what became of a reload")

    async def _reload(self, cause: str) -> Sequence[str]:
        try:
            loaded = await asyncio.to_thread(self._read)
            if loaded.config == self.loaded.config:
                log.info("%s: nothing has changed", cause)
                self.loaded = loaded  # It may be written elsewhere now, with other lines above it.
                self._sidecar.reload_successful = True
                return ()
            self._refuse_fixed(loaded)
            await self._sidecar.reload(loaded.config)
        except Draining:
            return ("the sidecar is draining, and takes no new configuration",)
        except ConfigError as error:
            problems = error.problems
        except OSError as error:
            problems = [f"cannot listen: {error.strerror or error}"]
        else:
            self._sidecar.reload_successful = True
            self._log_by(loaded.config.log)
            self._tell(cause, await asyncio.to_thread(_changes, self.loaded, loaded))
            self.loaded = loaded
            return ()
        self._sidecar.reload_successful = False
        log.error("%s: the configuration is not taken over, the one before runs on:", cause)
        for problem in problems:
            log.error("  " + problem)  # Without arguments, so that each is a message of its own.
        return problems

    def _refuse_fixed(self, loaded: Loaded) -> None:
        """Raises ``ConfigError`` if something has changed that takes a restart."""
        problems = [
            loaded.layers.problem(tuple(key.split(".")), "cannot change while the sidecar runs; restart it")
            for key in self._fixed
            if attrgetter(key)(loaded.config) != attrgetter(key)(self.loaded.config)
        ]
        if problems:
            raise ConfigError(problems)

    @staticmethod
    def _tell(cause: str, lines: Sequence[str]) -> None:
        log.info("%s: reloaded, %d change%s", cause, len(lines), "s" * (len(lines) != 1))
        for line in lines[:LINES]:
            log.info("  %s", line)
        if len(lines) > LINES:
            log.info("  and %d more", len(lines) - LINES)


def _changes(old: Loaded, new: Loaded) -> Sequence[str]:
    from sidecar.config.effective import changes  # A process that never reloads does without.

    return changes(old, new)
