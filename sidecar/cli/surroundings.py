"""What a sidecar needs around it, asked as it would ask itself; ``sidecar check`` prints the answers.

Everything that waits for others is bounded in number and in time, and asked at once. Names that do not resolve are asked
for in threads that nobody waits for longer: there is no other way to leave the system's resolver.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import resource
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

import sidecar
from sidecar.cli.client import Client, Problem, Unreachable
from sidecar.cli.output import ERROR, SUCCESS, WARNING
from sidecar.clock import Clock
from sidecar.config.fingerprint import fingerprint
from sidecar.config.schema import Config
from sidecar.config.units import Address, parse_peer

CONNECT_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 5.0
"""For all names, and for all endpoints."""
WORKERS: Final = 32
ASKED: Final = 200
"""How many endpoints are tried at most."""
SHOWN: Final = 10
"""How many of the same trouble are told one by one."""

Item = TypeVar("Item")


class Check(NamedTuple):
    """``sign`` is ``SUCCESS``, ``WARNING`` or ``ERROR``; ``hint`` says what to do."""

    sign: str
    description: str
    hint: str = ""


def machine(config: Config, path: str | None, clock: Clock) -> Iterator[Check]:
    """Limits and clock of where we are."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    connections = config.inbound.max_connections
    if files == resource.RLIM_INFINITY or files // 2 >= connections:
        yield Check(SUCCESS, f"{files if files != resource.RLIM_INFINITY else 'any number of'} files may be open")
    else:
        what = f"{files} files may be open, so inbound takes {files // 2} connections, not {connections}"
        yield Check(WARNING, what, "raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower inbound.max_connections")
    # A clock that stands before what it has itself written is wrong, and certificates and traces will be, too.
    written = max(os.stat(file).st_mtime for file in filter(None, (__file__, path)))
    if clock.wall() >= written - 60:
        yield Check(SUCCESS, "the clock is not behind the files")
    else:
        yield Check(WARNING, "the clock is behind the files that it has dated", "set the clock: is NTP running?")


def addresses(config: Config, running: dict[str, Any] | None) -> Iterator[Check]:
    """Whether the listeners can have their addresses; ``running`` is what the sidecar says that holds them, if any."""
    listen = config.listen
    for name in ("inbound", "outbound", "probes", "admin"):
        address: Address | None = getattr(listen, name)
        if address is None:
            continue
        error = _bind(address) if address.port else None
        if error is None:
            yield Check(SUCCESS, f"{name} can listen on {address}")
        elif error.errno == errno.EADDRINUSE and running is not None:
            yield Check(SUCCESS, f"{name} listens on {address}, in process {running['processId']}")
        else:
            hint = f"choose another address with listen.{name}"
            if error.errno == errno.EADDRINUSE:
                hint = f"another program listens there: end it, or {hint}"
            yield Check(ERROR, f"{name} cannot listen on {address}: {error.strerror}", hint)


def _bind(address: Address) -> OSError | None:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(place)
    except OSError as error:
        return error
    return None


def application(config: Config) -> Iterator[Check]:
    """Whether somebody listens where the application should."""
    app = config.service.app
    if app is not None:
        why = _connect((app.host, app.port))
        if why:
            what = f"the application does not take connections at {app}: {why}"
            yield Check(WARNING, what, "start it, or correct service.app; requests get app_unreachable until then")
        else:
            yield Check(SUCCESS, f"the application takes connections at {app}")


def endpoints(config: Config) -> Iterator[Check]:
    """Whether names resolve and endpoints take connections."""
    named: dict[tuple[str, int], str] = {}
    for service in config.services.values():
        for endpoint in service.endpoints:
            named.setdefault((endpoint.host, endpoint.port), service.name)
    places = list(named)[:ASKED]
    if not places:
        return
    hosts = dict.fromkeys(host for host, _ in places)
    lost = concurrently(_resolve, hosts, PATIENCE_SECONDS)
    yield from _told(
        [f"{host} does not resolve: {why}" for host, why in lost.items()],
        f"the hosts of endpoints resolve: {len(hosts)}",
        ERROR,
        "correct the name in endpoints, or look at the resolver",
    )
    known = [place for place in places if place[0] not in lost]
    deaf = concurrently(_connect, known, PATIENCE_SECONDS)
    some = f"the first {ASKED} of {len(named)}" if len(named) > ASKED else f"{len(known)}"
    yield from _told(
        [f"{named[place]}: {place[0]}:{place[1]} takes no connections: {why}" for place, why in deaf.items()],
        f"the endpoints take connections: {some}",
        WARNING,
        "start the endpoint, or correct its address; calls go to others until then",
    )


def dependencies(config: Config) -> Iterator[Check]:
    """Whether what the application needs takes connections. Programs are not run: they may do more than ask."""
    places = {
        name: parse_peer(dependency.address)
        for name, dependency in config.dependencies.items()
        if dependency.address is not None
    }
    names = list(places)[:ASKED]
    if not names:
        return
    deaf = concurrently(lambda name: _connect((places[name].host, places[name].port)), names, PATIENCE_SECONDS)
    some = f"the first {ASKED} of {len(places)}" if len(places) > ASKED else f"{len(names)}"
    yield from _told(
        [f"{name}: {places[name]} takes no connections: {why}" for name, why in deaf.items()],
        f"the dependencies take connections: {some}",
        WARNING,
        "start it, or correct its address; with gates = true the sidecar is not ready until then",
    )


def registry(config: Config) -> Iterator[Check]:
    """Whether the registry answers, where it is one that has to be asked."""
    if config.registry.kind == "consul":
        yield from asyncio.run(_consul(config))
    elif config.registry.kind == "dns":
        yield from _dns(config)


async def _consul(config: Config) -> list[Check]:
    from sidecar.discovery.consul.agent import Agent, Refused, Trouble, token_of

    settings = config.registry.consul
    checks = []
    for url in (settings.address, *settings.agents):
        try:
            agent = Agent(url, settings, token_of(settings.token_file))
        except OSError as error:
            hint = "look at ca_file, cert_file and key_file in [registry.consul]"
            return [Check(ERROR, f"TLS to {url} cannot be set up: {error.strerror or error}", hint)]
        try:
            leader, version = await agent.reach(), await agent.version()
            known = f", its version {version}" if version else ""
            checks.append(Check(SUCCESS, f"Consul answers at {url}; its leader is {leader}{known}"))
            checks.append(Check(SUCCESS, "it tells us of services" + (" by our token" if settings.token_file else "")))
        except Refused as trouble:
            hint = "correct the token in registry.consul.token_file: it is read again when it has changed"
            checks.append(Check(ERROR if url == settings.address else WARNING, str(trouble), hint))
        except Trouble as trouble:
            hint = "start the agent, or correct [registry.consul]; a sidecar starts without it, and nobody finds it"
            checks.append(Check(ERROR if url == settings.address else WARNING, str(trouble), hint))
        finally:
            await agent.close()
    return checks


def _dns(config: Config) -> Iterator[Check]:
    from sidecar.discovery.dns.asking import ask

    named = [service.name for service in config.services.values() if not service.endpoints][:ASKED]
    try:
        answers = ask(config.registry.dns, named, PATIENCE_SECONDS)
    except OSError as error:
        yield Check(ERROR, str(error), "look at registry.dns.servers")
        return
    mute = [f"DNS does not answer: {why}" for why in answers.values() if isinstance(why, str)]
    hint = "correct registry.dns.servers or start the server; what is known is kept while nobody answers"
    yield from _told(mute, "DNS answers", ERROR, hint)
    nobody = [f"{name} has no address in DNS" for name, count in answers.items() if name and count == 0]
    if named and not mute:
        good = f"the services that are configured have addresses in DNS: {len(named)}"
        yield from _told(
            nobody, good, WARNING, "start it, or correct registry.dns.domains or names; calls get no_endpoints"
        )


def _told(troubles: list[str], good: str, sign: str, hint: str) -> Iterator[Check]:
    if not troubles:
        yield Check(SUCCESS, good)
    for trouble in troubles[:SHOWN]:
        yield Check(sign, trouble, hint)
    if len(troubles) > SHOWN:
        yield Check(sign, f"and {len(troubles) - SHOWN} more of this kind", hint)


def _resolve(host: str) -> str:
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _connect(place: tuple[str, int]) -> str:
    try:
        socket.create_connection(place, timeout=CONNECT_SECONDS).close()
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def concurrently(ask: Callable[[Item], str], items: Iterable[Item], seconds: float) -> dict[Item, str]:
    """What is wrong with each item, in their order, those left out with which nothing is; all within ``seconds``."""
    asked = list(items)
    answers: queue.SimpleQueue[tuple[Item, str]] = queue.SimpleQueue()
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in asked:
        waiting.put(item)

    def work() -> None:
        try:
            while True:
                item = waiting.get_nowait()
                answers.put((item, ask(item)))
        except queue.Empty:
            return

    for _ in range(min(WORKERS, len(asked))):
        threading.Thread(target=work, daemon=True).start()
    clock = Clock()
    end = clock.now() + seconds
    found: dict[Item, str] = {}
    while len(found) < len(asked):
        try:
            item, why = answers.get(timeout=max(0.0, end - clock.now()))
        except queue.Empty:
            break
        found[item] = why
    late = f"no answer within {seconds:g} s"
    return {item: found.get(item, late) for item in asked if found.get(item, late)}


def running(config: Config, client: Client | None) -> tuple[dict[str, Any] | None, list[Check]]:
    """What the sidecar that runs says of itself, and whether it is this one; ``None`` if it is not, or none runs."""
    if client is None:
        return None, [Check(SUCCESS, "without listen.admin nobody can be asked whether it runs")]
    try:
        about = client.about()
    except Unreachable:
        return None, [Check(SUCCESS, f"none answers at {client.address} yet")]
    except Problem as problem:
        what, _, advice = problem.message.partition("\n")
        return None, [Check(ERROR, what, advice)]
    name = config.service.name
    if about["service"] != name:
        what = f"at {client.address} runs the sidecar of {about['service']}, not of {name}"
        return None, [Check(ERROR, what, "choose another listen.admin for one of them")]
    checks = [Check(SUCCESS, f"{name} runs in process {about['processId']}")]
    if about["version"] == sidecar.__version__:
        checks.append(Check(SUCCESS, f"it has our version, {about['version']}"))
    else:
        what = f"it has version {about['version']}, and this command {sidecar.__version__}"
        checks.append(Check(WARNING, what, "restart it after an update"))
    if about["configuration"] == fingerprint(config):
        checks.append(Check(SUCCESS, "it goes by this configuration"))
    else:
        hint = "`sidecar reload` takes the file over; flags and variables of the start are not known here"
        checks.append(Check(WARNING, "it goes by another configuration than this one", hint))
    if about["draining"]:
        checks.append(Check(WARNING, "it is draining", "start another one when it has ended"))
    return about, checks
