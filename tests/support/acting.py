"""``python -m tests.support.acting run …``: a sidecar whose process lets the admin API do things to it.

Reload reads the file that the process was started with; drain makes it not ready; shutdown is SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from sidecar import life
from sidecar.app import Sidecar
from sidecar.cli.main import main
from sidecar.config.load import ConfigError, load


class Acting:
    """What the admin API is handed."""

    def __init__(self) -> None:
        self.sidecar: Sidecar | None = None
        self.tasks: list[asyncio.Task[None]] = []

    def reload(self, done: Callable[[Sequence[str]], None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(self._reload(done)))

    async def _reload(self, done: Callable[[Sequence[str]], None]) -> None:
        assert self.sidecar is not None
        try:
            await self.sidecar.reload(load(sys.argv[sys.argv.index("--config") + 1], os.environ))
        except ConfigError as error:
            done(error.problems)
        else:
            done(())

    def drain(self) -> None:
        assert self.sidecar is not None
        self.sidecar.draining = True

    def shutdown(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


ACTIONS = Acting()


class ActingSidecar(Sidecar):
    """The sidecar that the process makes, with our actions."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, actions=ACTIONS)
        ACTIONS.sidecar = self


if __name__ == "__main__":
    life.Sidecar = ActingSidecar  # type: ignore[misc]
    main(prog_name="sidecar")
