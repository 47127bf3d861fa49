"""Services that no configuration names: the first call waits for the registry, and the rest is as ever."""

from __future__ import annotations

import pytest

from sidecar.discovery.registries import FOUND_AT_MOST, MISS_SECONDS
from sidecar.discovery.source import Instance, State, Told
from tests.exchange.steps import at_rest, counted, heard, request, response
from tests.support.world import LISTEN, World, configuration


class Registry:
    """A source that answers when the test says so."""

    certain = True

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}
        self.asked: list[str] = []

    def subscribe(self, service: str, told: Told) -> None:
        self.told[service] = told
        self.asked.append(service)

    def unsubscribe(self, service: str) -> None:
        self.told.pop(service, None)

    def register(self, instance: Instance) -> None: ...
    def announce(self, service: str, admin: str, listeners: object) -> None: ...
    def state(self) -> State:
        return State(seen=True)

    async def deregister(self) -> None: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...

    def tell(self, service: str, *hosts: str) -> None:
        self.told[service]([Instance(service=service, host=host, port=80) for host in hosts])


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def world(registry: Registry) -> World:
    return World(LISTEN, source=registry)


def unrouted(world: World) -> dict[tuple[bytes, int, str], int]:
    return world.sidecar.assembly.unrouted["outbound"].requests


def test_the_first_call_waits_for_the_registry_and_is_a_call_like_others(world: World, registry: Registry) -> None:
    """Its service has the policies of [defaults] and counters of its own; a second call asks nobody."""
    client = world.client()
    client.send(request(method="POST", host="billing", body=b"hello"))
    assert client.take() == b"" and not world.dialing
    registry.tell("billing", "10.0.0.9")
    server = world.accept("10.0.0.9:80")
    assert server.take().endswith(b"\r\n\r\nhello")
    server.send(response())
    assert heard(client).status == 200
    client.send(request(host="billing.mesh"))
    assert server.take()
    server.send(response())
    assert heard(client).status == 200
    assert registry.asked == ["billing"]
    assert (counted(world, status="200"), unrouted(world)) == (2, {})
    at_rest(world)


def test_calls_that_come_meanwhile_wait_for_the_same_answer(world: World, registry: Registry) -> None:
    """One question, however many callers."""
    clients = [world.client() for _ in range(3)]
    for client in clients:
        client.send(request(host="billing"))
    registry.tell("billing", "10.0.0.9")
    for server in [world.accept("10.0.0.9:80") for _ in clients]:
        server.send(response())
    assert [heard(client).status for client in clients] == [200, 200, 200]
    assert registry.asked == ["billing"]


def test_that_there_is_no_such_service_is_remembered_for_a_while(world: World, registry: Registry) -> None:
    """A caller of a wrong name does not wait each time, and one of a service that comes later is not told so for ever."""
    client = world.client()
    client.send(request(host="bilinig"))
    registry.tell("bilinig")
    assert heard(client).reason == "no_route"
    client.send(request(host="bilinig"))
    assert heard(client).reason == "no_route"
    assert (registry.asked, registry.told) == (["bilinig"], {})
    world.pass_time(MISS_SECONDS + 0.1)
    client.send(request(host="bilinig"))
    assert client.take() == b""
    registry.tell("bilinig", "10.0.0.9")
    world.accept("10.0.0.9:80").send(response())
    assert heard(client).status == 200
    assert unrouted(world) == {(b"GET", 404, "no_route"): 2}


def test_a_name_that_is_no_service_passes_through_as_a_host(world: World, registry: Registry) -> None:
    """Whoever uses us as a proxy may mean a machine of that name."""
    client = world.client()
    client.send(request(target="http://printer/status", host="printer"))
    registry.tell("printer")
    assert world.accept("printer:80").take().startswith(b"GET /status HTTP/1.1\r\n")


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "[::1]", "a b", "-", "x" * 254])
def test_what_cannot_be_a_service_of_ours_is_not_asked_for(host: str, world: World, registry: Registry) -> None:
    """A name with a dot is somebody else's, unless it is said to be of the mesh."""
    client = world.client()
    client.send(request(host=host))
    assert heard(client).reason in ("no_route", "bad_request")
    assert registry.asked == []


def test_the_wait_has_the_time_that_the_caller_has(world: World, registry: Registry) -> None:
    """And what it took is gone from the call's own."""
    late, early = world.client(), world.client()
    late.send(request(host="billing", x_request_timeout_ms="200"))
    early.send(request(host="billing", x_request_timeout_ms="1000"))
    world.pass_time(0.25)
    answer = heard(late)
    assert (answer.status, answer.reason) == (504, "deadline_exceeded")
    assert "the registry did not answer" in answer.error()["detail"]
    registry.tell("billing", "10.0.0.9")
    left = world.accept("10.0.0.9:80").take().partition(b"x-request-timeout-ms: ")[2]
    assert 700 <= int(left.partition(b"\r")[0]) <= 750
    world.pass_time(0.8)
    assert heard(early).reason == "deadline_exceeded"


def test_a_registry_that_never_answers_is_not_waited_for_for_ever(world: World, registry: Registry) -> None:
    """Without a deadline of the caller's, five seconds."""
    client = world.client()
    client.send(request(host="billing"))
    world.pass_time(5.1)
    assert heard(client).reason == "deadline_exceeded"
    registry.tell("billing", "10.0.0.9")
    assert not world.dialing


def test_a_caller_that_leaves_while_it_waits_is_counted_and_forgotten(world: World, registry: Registry) -> None:
    """The answer, when it comes, has nobody to go to."""
    client = world.client()
    client.send(request(host="billing"))
    client.end()
    world.settle()
    registry.tell("billing", "10.0.0.9")
    assert not world.dialing
    assert unrouted(world) == {(b"GET", 499, "client_gone"): 1}
    at_rest(world)


def test_a_body_that_comes_meanwhile_is_bounded_and_arrives_whole(world: World, registry: Registry) -> None:
    """No more of it is read than could be sent again."""
    client = world.client()
    client.send(b"POST / HTTP/1.1\r\nHost: billing\r\nContent-Length: 100000\r\n\r\n" + b"a" * 40000)
    client.send(b"b" * 40000)
    assert client.paused
    registry.tell("billing", "10.0.0.9")
    server = world.accept("10.0.0.9:80")
    assert not client.paused
    client.send(b"c" * 20000)
    assert server.take().partition(b"\r\n\r\n")[2] == b"a" * 40000 + b"b" * 40000 + b"c" * 20000


def test_a_broken_body_ends_the_wait(world: World, registry: Registry) -> None:
    """There is nothing to ask the registry for any more."""
    client = world.client()
    client.send(b"POST / HTTP/1.1\r\nHost: billing\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"zz\r\n")
    assert heard(client).reason == "bad_request"
    registry.tell("billing", "10.0.0.9")
    assert not world.dialing
    at_rest(world)


def test_what_the_registry_tells_later_moves_the_service(world: World, registry: Registry) -> None:
    """Endpoints that stay keep their connections; without any the answer is that, and not that there is no service."""
    client = world.client()
    client.send(request(host="billing"))
    registry.tell("billing", "10.0.0.9")
    server = world.accept()
    server.send(response())
    client.take()
    registry.tell("billing", "10.0.0.8", "10.0.0.9")
    assert not server.over
    registry.tell("billing", "10.0.0.8")
    world.settle()
    assert server.over
    registry.tell("billing")
    client.send(request(host="billing"))
    assert heard(client).reason == "no_endpoints"


def test_a_service_of_the_configuration_without_endpoints_is_asked_for_from_the_start(registry: Registry) -> None:
    """One with endpoints is not: they are what counts."""
    toml = LISTEN + '[services.orders]\ntimeout = "2s"\n[services.fixed]\nendpoints = ["10.0.0.1:80"]\n'
    world = World(toml, source=registry)
    assert registry.asked == ["orders"]
    client = world.client()
    client.send(request())
    assert heard(client).reason == "no_endpoints"
    registry.tell("orders", "10.0.0.7")
    client.send(request())
    world.accept("10.0.0.7:80").send(response())
    assert heard(client).status == 200
    world.reload(LISTEN)
    assert registry.told == {}


def test_what_was_found_outlives_a_reload_with_its_connections(world: World, registry: Registry) -> None:
    """It goes by the new defaults, or by its own table if it has one now; and by what is written there if that is new."""
    client = world.client()
    client.send(request(host="billing"))
    registry.tell("billing", "10.0.0.9")
    server = world.accept()
    server.send(response())
    client.take()
    world.reload(LISTEN + '[defaults]\ntimeout = "2s"\n')
    client.send(request(host="billing"))
    assert b"x-request-timeout-ms: 1999" in server.take()
    server.send(response())
    client.take()
    world.reload(LISTEN + '[services.billing]\nendpoints = ["10.0.0.9:80", "10.0.0.3:80"]\n')
    assert registry.told == {} and not server.over
    world.reload(LISTEN + "[services.billing]\n")
    registry.tell("billing", "10.0.0.9")
    assert [one.label for one in world.sidecar.assembly.services["billing"].endpoints] == ["10.0.0.9:80"]
    assert registry.asked == ["billing", "billing"]


def test_a_call_that_waits_is_answered_by_a_configuration_that_has_its_service(
    world: World, registry: Registry
) -> None:
    """The registry is asked no more, and whoever waited for it goes to what is written."""
    client = world.client()
    client.send(request(host="billing"))
    world.reload(LISTEN + '[services.billing]\nendpoints = ["10.0.0.9:80"]\n')
    world.accept("10.0.0.9:80").send(response())
    assert heard(client).status == 200
    assert registry.told == {}


def test_what_is_found_while_a_new_configuration_is_compiled_is_kept(world: World, registry: Registry) -> None:
    """Compiling takes a thread some time, in which the loop goes on."""
    client = world.client()
    client.send(request(host="billing"))
    sidecar = world.sidecar
    compiled = sidecar._assemble(configuration(LISTEN), sidecar.assembly)
    registry.tell("billing", "10.0.0.9")
    server = world.accept()
    sidecar._take_over(compiled)
    server.send(response())
    assert heard(client).status == 200
    client.send(request(host="billing"))
    assert server.take()


def test_names_that_callers_invent_do_not_fill_the_memory(world: World, registry: Registry) -> None:
    """Neither those that there are not nor, beyond a bound, those that there are."""
    client = world.client()
    for number in range(FOUND_AT_MOST + 50):
        client.send(request(host=f"wrong-{number}"))
        registry.tell(f"wrong-{number}")
        assert heard(client).reason == "no_route"
    assert len(world.sidecar.registries._missed) <= FOUND_AT_MOST
    assert registry.told == {}


def test_without_a_registry_a_name_is_known_or_it_is_not() -> None:
    """Nobody is there to be asked."""
    world = World(LISTEN)
    client = world.client()
    client.send(request(host="billing"))
    assert heard(client).reason == "no_route"


# Doubt, and being forgotten


def doubting() -> tuple[World, Registry]:
    """A world with three instances, that has called one of them; its registry cannot know who is really gone."""
    registry = Registry()
    registry.certain = False
    world = World(LISTEN, source=registry)
    client = world.client()
    client.send(request(host="billing"))
    registry.tell("billing", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    world.accept().send(response())
    assert heard(client).status == 200
    return world, registry


def usable(world: World) -> int:
    return len(world.sidecar.assembly.services["billing"].endpoints)


def test_an_empty_answer_after_a_full_one_ends_no_calls(caplog: pytest.LogCaptureFixture) -> None:
    """All are used as before, which is called panic, until the registry has said so for a minute."""
    world, registry = doubting()
    registry.tell("billing")
    service = world.sidecar.assembly.services["billing"]
    assert (usable(world), service.panicking) == (3, True)
    world.pass_time(59)
    assert usable(world) == 3
    world.pass_time(2)
    assert (usable(world), service.panicking) == (0, False)
    client = world.client()
    client.send(request(host="billing"))
    assert heard(client).reason == "no_endpoints"


def test_a_registry_that_finds_its_memory_again_was_never_missed() -> None:
    """Endpoints are the same objects all the while, with their connections."""
    world, registry = doubting()
    before = tuple(world.sidecar.assembly.services["billing"].listed)
    registry.tell("billing")
    world.pass_time(30)
    registry.tell("billing", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    service = world.sidecar.assembly.services["billing"]
    assert (tuple(service.listed), service.panicking) == (before, False)
    world.pass_time(60)
    assert usable(world) == 3


def test_of_those_that_are_kept_the_dead_are_found_out_by_calling_them() -> None:
    """The panic is for those that live."""
    world, registry = doubting()
    (living,) = world.peers[1:]
    living.take()
    registry.tell("billing")
    client = world.client()
    for _ in range(3):
        client.send(request(host="billing"))
        while not living.take():
            world.refuse(nobody=True)
            world.pass_time(0.2)
        living.send(response())
        assert heard(client).status == 200
    assert [one.host for one in world.sidecar.assembly.services["billing"].endpoints] == [living.address[0]]


def test_a_service_that_nobody_calls_for_ten_minutes_is_forgotten_and_found_again() -> None:
    """Its question to the registry is closed; one that is called now and then stays."""
    registry = Registry()
    world = World(LISTEN, source=registry)
    world.sidecar._idle.start()
    client = world.client()
    for name, host in (("billing", "10.0.0.1"), ("stock", "10.0.0.2")):
        client.send(request(host=name))
        registry.tell(name, host)
        world.accept().send(response())
        assert heard(client).status == 200
    for _ in range(4):
        world.pass_time(300, step=1.0)
        client.send(request(host="stock"))
        world.accept("10.0.0.2:80").send(response())
        assert heard(client).status == 200
    assert list(registry.told) == ["stock"]
    assert world.sidecar.assembly.services.keys() == {"stock"}
    client.send(request(host="billing"))
    registry.tell("billing", "10.0.0.1")
    world.accept("10.0.0.1:80").send(response())
    assert heard(client).status == 200
    at_rest(world)


def test_a_service_with_a_call_in_flight_is_not_forgotten() -> None:
    """However long it takes."""
    registry = Registry()
    world = World(LISTEN + '[defaults]\ntimeout = "none"\n', source=registry)
    world.sidecar._idle.start()
    client = world.client()
    client.send(request(host="billing"))
    registry.tell("billing", "10.0.0.1")
    server = world.accept()
    world.pass_time(1500, step=1.0)
    assert "billing" in world.sidecar.assembly.services
    server.send(response())
    assert heard(client).status == 200
