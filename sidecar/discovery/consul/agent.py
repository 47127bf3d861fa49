"""Agents as we speak to them: py-consul's client with its edges taken off.

The library knows paths and parameters of Consul's API. What it leaves to its callers is here: no TLS context where none is
used, a bound on how much an agent may say, timeouts that outlast a blocking query, the token read from a file that
rotates, and one kind of exception for everything that can go wrong, whose text is for people and has no secret in it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import consul.aio
import msgspec
from consul.base import Response
from consul.exceptions import ACLDisabled, ACLPermissionDenied, ConsulException, NotFound

from sidecar.discovery.consul.settings import Settings

ANSWER_SECONDS: Final = 5.0
"""For everything that does not wait on purpose."""
SPREAD: Final = 17 / 16
"""An agent waits up to a sixteenth longer than it was asked to, so that not all come back at once."""
MOST_TOKEN: Final = 4096
MOST_BYTES: Final = 64 << 20
"""Of a service's instances."""
MOST_BYTES_ELSE: Final = 1 << 20
"""Of any other answer: the library reads it in one go."""
ALWAYS_THERE: Final = "consul"
"""The service that the servers are themselves."""


class Trouble(Exception):
    """The agent cannot be used just now; the text says why."""


class Refused(Trouble):
    """Our token may not do that."""


class Unknown(Trouble):
    """The agent does not know the registration that we speak of."""


class Reading(NamedTuple):
    """What an agent knows of a service: the body as it came, and the index to ask for what is newer from."""

    since: int
    body: bytes


class Agent:
    """One agent at ``url``. Has to be made on a running loop."""

    def __init__(self, url: str, settings: Settings, token: Callable[[], str | None]) -> None:
        self.url = url
        parts = urlsplit(url)
        context = _tls(settings) if parts.scheme == "https" else None
        self._token = token
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname  # The library only joins it.
        self._client = _Consul(context, host=host, port=parts.port or 8500, scheme=parts.scheme, dc=settings.datacenter)
        self._client.token = None  # Not what an environment says: each request carries the file's.

    async def reach(self) -> str:
        """Whether it answers, knows its leader and takes our token: the leader's address. Raises ``Trouble``."""
        leader = await self._asked(self._client.status.leader())
        if not leader:
            raise Trouble(f"{self.url} knows no leader")
        await self.instances(ALWAYS_THERE, 0, 0.0)  # Who leads is told to everybody, whatever the token.
        return str(leader)

    async def version(self) -> str:
        """Its version; empty where our token may not ask. Raises ``Trouble``."""
        get = self._client.http.get(_version, "/v1/agent/self", headers=self._headers(), raw=True)
        try:
            return str(await self._asked(get))
        except Refused:
            return ""

    async def instances(self, service: str, index: int, wait: float) -> Reading:
        """What is known of ``service``; with an ``index``, as soon as that has changed, or after ``wait`` seconds at most.
        Raises ``Trouble``."""
        params: list[tuple[str, Any]] = [("stale", "1")]
        seconds = ANSWER_SECONDS
        if index:
            params += [("index", index), ("wait", f"{wait:g}s")]
            seconds += wait * SPREAD
        if self._client.dc:
            params.append(("dc", self._client.dc))
        path = f"/v1/health/service/{service}"
        get = self._client.http.get(_reading, path, params=params, headers=self._headers(), raw=True)
        reading: Reading = await self._asked(get, seconds)
        return reading

    async def register(self, definition: Mapping[str, Any]) -> None:
        """``definition``: keywords of ``consul.agent.service.register``. Raises ``Trouble``."""
        await self._asked(self._client.agent.service.register(**definition, token=self._token()))

    async def deregister(self, service_id: str) -> None:
        """Also if there is no such service. Raises ``Trouble``."""
        with suppress(Unknown):
            await self._asked(self._client.agent.service.deregister(service_id, token=self._token()))

    async def alive(self, check_id: str, trouble: str) -> None:
        """Passes the check, or fails it with ``trouble``. Raises ``Unknown`` if there is no such check, ``Trouble``."""
        check = self._client.agent.check
        if trouble:
            known = await self._asked(check.ttl_fail(check_id, notes=trouble, token=self._token()))
        else:
            known = await self._asked(check.ttl_pass(check_id, token=self._token()))
        if not known:
            raise Unknown(f"{self.url} does not know the check {check_id}")

    async def close(self) -> None:
        await self._client.close()

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = self._client.prepare_headers(self._token())
        return headers

    async def _asked(self, asking: Awaitable[Any], seconds: float = ANSWER_SECONDS) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await asking
        except TimeoutError:
            raise Trouble(f"{self.url} does not answer within {seconds:.0f} s") from None
        except (ACLPermissionDenied, ACLDisabled) as error:
            raise Refused(f"{self.url} refuses the token: {_short(error)}") from None
        except NotFound as error:
            raise Unknown(f"{self.url}: {_short(error)}") from None
        except ConsulException as error:
            said = _short(error)
            # How versions before and after 1.13 say that there is no such check.
            unknown = "does not have associated TTL" in said or "nknown check" in said or "nknown service" in said
            raise (Unknown if unknown else Trouble)(f"{self.url}: {said}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Trouble(f"{self.url} cannot be reached: {_short(error)}") from None
        except (ValueError, RecursionError) as error:
            raise Trouble(f"{self.url} gives no answer that makes sense: {_short(error)}") from None


def token_of(path: str | None) -> Callable[[], str | None]:
    """Gives the token in the file at ``path``, which is read again when it has changed. Raises ``Trouble``."""
    known: tuple[tuple[int, int, int] | None, str | None] = (None, None)

    def token() -> str | None:
        nonlocal known
        if path is None:
            return None
        try:
            status = os.stat(path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != known[0]:
                known = stamp, _read_token(path, status)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise Trouble(f"the token in {path} cannot be read: {why}") from None
        return known[1]

    return token


def _read_token(path: str, status: os.stat_result) -> str:
    """Raises ``OSError``, and ``ValueError`` without a word of what stands there: it may be half of a secret."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no file")  # And a pipe would keep us waiting for who writes to it.
    with open(path, "rb") as file:
        token = file.read(MOST_TOKEN + 1).strip()
    if not token:
        raise ValueError("it is empty")
    if len(token) > MOST_TOKEN or not all(0x21 <= byte <= 0x7E for byte in token):
        raise ValueError("it is not one line of visible ASCII characters")
    return token.decode("ascii")


def _tls(settings: Settings) -> ssl.SSLContext:
    """Raises ``OSError`` for files that are missing or hold something else."""
    context = ssl.create_default_context(cafile=settings.ca_file)
    if settings.cert_file is not None:
        # A key with a password would be asked for at the terminal, and hold everything up.
        context.load_cert_chain(settings.cert_file, settings.key_file, password="")
    return context


def _short(error: BaseException) -> str:
    """The first line of what somebody else says, without what is not printable."""
    lines = str(error).splitlines() or [type(error).__name__]
    return _clean(lines[0])


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:200]).strip()


def _checked(response: Response) -> Any:
    """The body of an answer that is one. Raises what ``Agent._asked`` understands."""
    if response.code != 200:
        said = response.body[:200].decode("utf-8", "replace")
        raise ACLPermissionDenied(said) if response.code in (401, 403) else ConsulException(f"{response.code} {said}")
    return response.body


def _reading(response: Response) -> Reading:
    body = _checked(response)
    try:
        index = int(response.headers.get("X-Consul-Index", "0"))
    except ValueError:
        index = 0
    return Reading(max(index, 0), body)


class _Configured(msgspec.Struct, frozen=True):
    Version: str = ""


class _Self(msgspec.Struct, frozen=True):
    Config: _Configured = _Configured()


def _version(response: Response) -> str:
    return _clean(msgspec.json.decode(_checked(response), type=_Self).Config.Version)


class _Http(consul.aio.HTTPClient):  # type: ignore[misc]
    """The library's client, with our session and a bound on what is read."""

    def __init__(self, context: ssl.SSLContext | None, host: str, port: int, scheme: str) -> None:
        # Not that of the library's class: it makes a TLS context also for plain HTTP, by arguments that aiohttp deprecates.
        consul.base.HTTPClient.__init__(self, host, port, scheme)
        # No limit of connections: blocking queries are counted by who makes them, and must not hold up a heartbeat.
        connector = aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    async def _request(
        self,
        callback: Callable[[Response], Any],
        method: str,
        uri: str,
        headers: dict[str, str] | None,
        data: Any = None,
        connections_timeout: float | None = None,
        raw: bool = False,
    ) -> Any:
        most = MOST_BYTES if raw else MOST_BYTES_ELSE
        async with self._session.request(method, uri, headers=headers, data=data, allow_redirects=False) as answer:
            pieces, size = [], 0
            async for piece in answer.content.iter_any():
                size += len(piece)
                if size > most:
                    raise ValueError(f"it is longer than {most >> 20} MiB")
                pieces.append(piece)
            body = b"".join(pieces)
            return callback(Response(answer.status, answer.headers, body if raw else body.decode("utf-8", "replace")))


class _Consul(consul.aio.Consul):  # type: ignore[misc]
    def __init__(self, context: ssl.SSLContext | None, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    def http_connect(self, host: str, port: int, scheme: str, verify: Any = True, cert: Any = None) -> _Http:
        return _Http(self._context, host, port, scheme)
