"""How commands find and ask the sidecar that runs: its admin API, over one connection.

A command is in the hands of somebody who wants to know what is wrong. So every way in which asking can fail is told with
what to do next, and nothing waits for longer than a few seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from sidecar.clock import Clock

if TYPE_CHECKING:
    from sidecar.cli.options import Where
    from sidecar.config.schema import Config, Listen
    from sidecar.config.units import Address

PATIENCE: Final = 5.0
"""Seconds that an answer may take."""
POLL_SECONDS: Final = 0.1
PAGE: Final = 1000
MAX_BYTES: Final = 64 << 20
"""No document is as large; what sends more is no sidecar."""
API: Final = "/api/v1"
_DIRECTORY: Final = "SIDECAR_REGISTRY__LOCAL__DIRECTORY"


class Problem(click.ClickException):
    """What went wrong, and on the next line what to do about it."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}\n{advice}")


class Unreachable(Problem):
    """Nobody answers; ``silent``: somebody is there, who takes too long."""

    def __init__(self, address: Address, why: str, silent: bool = False) -> None:
        super().__init__(
            f"no sidecar answers at {address}: {why}",
            "Start one with `sidecar run`, or name the address of one that runs with --admin HOST:PORT or --config FILE.",
        )
        self.silent = silent


class Refused(Problem):
    """The sidecar answers with errors: a sentence each."""

    def __init__(self, status: int, details: list[str]) -> None:
        super().__init__("the sidecar refuses", "\n".join(details))
        self.status = status
        self.details = details


class Client:
    """Asks the sidecar at ``address``, until the command ends. Raises :class:`Problem`."""

    def __init__(self, address: Address, patience: float = PATIENCE) -> None:
        self.address = address
        # Who listens on all addresses, 0.0.0.0, is found there too.
        self._connection = http.client.HTTPConnection(address.host, address.port, timeout=patience)
        click.get_current_context().call_on_close(self._connection.close)

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        """Status and document. An answer that is no JSON is a problem, whatever its status."""
        connection = self._connection
        try:
            if connection.sock is None:
                connection.connect()
            connection.request(method, path, headers={"Host": self._host(), "Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read(MAX_BYTES))
        except (OSError, ValueError, http.client.HTTPException) as error:
            connection.close()
            raise self._problem(error) from None

    def _problem(self, error: Exception) -> Problem:
        if isinstance(error, TimeoutError):
            return Unreachable(self.address, f"no answer within {self._connection.timeout:g} s", silent=True)
        if isinstance(error, OSError):  # A connection that closed without an answer is one, too.
            return Unreachable(self.address, error.strerror or str(error))
        return self._stranger()

    def _host(self) -> str:
        """The peer's address, since the API serves no names (a browser's page could make one point to it)."""
        host, port = self._connection.sock.getpeername()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def get(self, path: str) -> Any:
        """The document at a path of the API."""
        return self._answered(*self.ask("GET", API + path))

    def post(self, action: str) -> Any:
        """Has the sidecar do something; the document that it answers."""
        return self._answered(*self.ask("POST", f"{API}/{action}"))

    def _answered(self, status: int, document: Any) -> Any:
        with suppress(KeyError, TypeError):
            if status >= 400:
                raise Refused(status, [error["detail"] for error in document["errors"]])
            if "data" in document:
                return document
        raise self._stranger()

    def rows(self, path: str) -> Iterator[dict[str, Any]]:
        """The attributes of everything that the collection has, page after page as they are needed."""
        following: str | None = f"{path}{'&' if '?' in path else '?'}size={PAGE}"
        while following is not None:
            document = self.get(following)
            yield from (one["attributes"] for one in document["data"])
            following = document["links"]["next"]
            following = following.removeprefix(API) if following is not None else None

    def about(self) -> dict[str, Any]:
        """The sidecar itself: ``service``, ``version``, ``startedAt`` and so on."""
        document = self.get("")
        with suppress(KeyError, TypeError):
            if document["data"]["type"] == "sidecar":
                attributes: dict[str, Any] = document["data"]["attributes"]
                return attributes
        raise self._stranger()

    def _stranger(self) -> Problem:
        return Problem(
            f"what answers at {self.address} is not the admin API of a sidecar",
            "Name its address (listen.admin) with --admin HOST:PORT.",
        )


def find(where: Where) -> Client:
    """The sidecar that is meant: by its address, else by its service or being the only one, else as configured.

    Raises :class:`Problem`; exits with 78 if the configuration is wrong.
    """
    address = admin_address(where)
    if address is None:
        raise Problem(
            'listen.admin is "none": this sidecar cannot be asked',
            "Give it an address in the configuration, or name one with --admin HOST:PORT.",
        )
    if not address.port:
        raise Problem(
            f"listen.admin is {address}: a free port was taken, and nobody can know which",
            "The sidecar's log says where it listens: name it with --admin HOST:PORT.",
        )
    return Client(address)


def admin_address(where: Where) -> Address | None:
    """Where the API should be: as ``--admin`` or its variable says, else where the one sidecar that runs here has it, else
    as configured; ``None`` for ``none``."""
    from sidecar.config.units import parse_listener

    if where.admin == "none":
        return None
    if where.admin is None:
        return _admin_here(where) or listen(where).admin
    try:
        return parse_listener(where.admin)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--admin") from None


def _admin_here(where: Where) -> Address | None:
    """The admin address of the sidecar on this machine that is meant, as it has announced itself."""
    from sidecar.config.units import parse_listener
    from sidecar.discovery.local.running import running

    config = _config(where)
    if config is not None and not _may_be_elsewhere(config):
        return None
    name = where.service or (config.service.name if config is not None else None)
    try:
        directory = config.registry.local.directory if config is not None else os.environ.get(_DIRECTORY)
        all_ = [one for one in running(directory) if one.admin]
    except OSError as error:
        click.echo(f"which sidecars run here cannot be read: {error.strerror or error}", err=True)
        return None
    meant = [one for one in all_ if name is None or one.service == name]
    if len(meant) == 1:
        return parse_listener(meant[0].admin)
    those = ", ".join(f"{one.service} at {one.admin}" for one in meant or all_)
    if meant:
        raise Problem(f"{len(meant)} sidecars run here: {those}", "Pick one with --service NAME, or --admin HOST:PORT.")
    if where.service is not None:
        raise Problem(f"no sidecar of {name} runs here", f"There are: {those or 'none'}.")
    return None


def _may_be_elsewhere(config: Config) -> bool:
    """Whether the sidecar of this configuration may have another admin address than it says, and tells which."""
    admin = config.listen.admin
    return config.registry.kind == "local" and admin is not None and ("admin" in config.movable or not admin.port)


def _config(where: Where) -> Config | None:
    """The configuration that was named, if one was. Exits with 78 if it is wrong."""
    if where.path is None:
        return None
    from sidecar.cli.config import loaded_or_exit
    from sidecar.config.load import Setting

    # An application that the sidecar has started itself need not be in the file; where it listens is not asked here.
    app = Setting("PORT", "service.app", "application:1")
    return loaded_or_exit(where.path, profile=where.profile, beneath=[app]).config


def listen(where: Where) -> Listen:
    """The addresses of the configuration; without one, the default ones."""
    config = _config(where)
    if config is not None:
        return config.listen
    from sidecar.config.schema import Listen

    return Listen()


def wait_for(happened: Callable[[], bool], seconds: float, clock: Clock) -> bool:
    """Whether it happened within ``seconds``; looked at now and then."""
    end = clock.now() + seconds
    while not happened():
        left = end - clock.now()
        if left <= 0:
            return False
        pause(min(left, POLL_SECONDS))
    return True


def pause(seconds: float) -> None:
    """Rests; Ctrl-C ends it."""
    threading.Event().wait(seconds)
