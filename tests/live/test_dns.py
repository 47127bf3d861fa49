"""Questions to real servers: one that does everything as it should, and one that does nothing as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from click.testing import CliRunner
from dnslib import DNSRecord

from sidecar.cli.main import main
from sidecar.clock import Clock
from sidecar.discovery.dns.lookup import look_up
from sidecar.discovery.dns.naming import Naming
from sidecar.discovery.dns.resolver import Answer, AresResolver, Kind, Trouble
from sidecar.discovery.dns.settings import DnsRegistry as Settings
from sidecar.discovery.source import Instance
from tests.support.configs import written
from tests.support.dns_servers import DnsServer, answer, dnsmasq, zone
from tests.support.live import OK, Client, Sidecar, Upstream, answering, until

ZONE = (
    "local=/mesh.test/",
    "local-ttl=7",
    "host-record=orders.mesh.test,127.0.0.1,fd00::1",
    "host-record=six.mesh.test,fd00::2",
    "host-record=a.mesh.test,127.0.0.2",
    "host-record=b.mesh.test,127.0.0.3",
    "cname=alias.mesh.test,orders.mesh.test",
    "srv-host=_http._tcp.pay.mesh.test,a.mesh.test,9001,0,10",
    "srv-host=_http._tcp.pay.mesh.test,b.mesh.test,9002,0,30",
    "srv-host=_http._tcp.pay.mesh.test,six.mesh.test,9003,5,1",
)


@pytest.fixture(scope="module")
def proper() -> Iterator[str]:
    with dnsmasq(*ZONE) as address:
        yield address


def ask(server: str, name: str, kind: Kind = "A", timeout: float = 2.0) -> Answer:
    async def asking() -> Answer:
        settings = Settings(servers=(server,), timeout=timeout)
        resolver = AresResolver(asyncio.get_running_loop(), Clock(), settings)
        try:
            return await resolver.ask(name, kind)
        finally:
            await resolver.close()

    return uvloop.run(asking())


def instances(server: str, service: str, **more: object) -> list[Instance]:
    async def asking() -> list[Instance]:
        settings = Settings(servers=(server,), domains=("mesh.test",), **more)  # type: ignore[arg-type]
        resolver = AresResolver(asyncio.get_running_loop(), Clock(), settings)
        try:
            return list((await look_up(resolver, service, Naming(settings).questions(service), {})).instances)
        finally:
            await resolver.close()

    return asyncio.run(asking())


def labels(found: list[Instance]) -> list[tuple[str, int, int]]:
    return [(one.host, one.port, one.weight) for one in found]


# A proper server


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("orders.mesh.test", "A", ["127.0.0.1"]),
        ("ORDERS.mesh.test", "A", ["127.0.0.1"]),
        ("orders.mesh.test", "AAAA", ["fd00::1"]),
        ("alias.mesh.test", "A", ["127.0.0.1"]),
        ("six.mesh.test", "A", []),
        ("orders.mesh.test", "SRV", []),
    ],
)
def test_a_proper_answer(proper: str, name: str, kind: Kind, data: list[str]) -> None:
    """Records with the time that they hold; that there are none of this kind is no trouble."""
    found = ask(proper, name, kind)
    assert [record.data for record in found.records] == data and found.exists
    assert all(record.ttl == 7 for record in found.records)


def test_a_name_that_does_not_exist(proper: str) -> None:
    """Is an answer, and not the same as one without such records."""
    assert ask(proper, "nobody.mesh.test") == Answer(exists=False)


def test_a_service_with_srv_records(proper: str) -> None:
    """Ports and weights as they are written, addresses of the targets beside them, the lowest priority alone."""
    assert labels(instances(proper, "pay", srv="_http._tcp")) == [("127.0.0.2", 9001, 1), ("127.0.0.3", 9002, 3)]
    assert labels(instances(proper, "x", names={"x": "srv:_http._tcp.pay.mesh.test"}))[0] == ("127.0.0.2", 9001, 1)


def test_a_service_with_addresses_alone(proper: str) -> None:
    """Of one family; the port is ours."""
    assert labels(instances(proper, "orders", srv="_http._tcp", port=8080)) == [("127.0.0.1", 8080, 1)]
    assert labels(instances(proper, "six")) == [("fd00::2", 80, 1)]


# One that is not


def garbage(question: DNSRecord) -> bytes:
    return bytes(question.pack()[:2]) + b"\x81\x80\xff\xff\xff\xff" + b"\xc0" * 40


def truncated(question: DNSRecord) -> DNSRecord:
    reply = answer(question)
    reply.header.tc = 1
    return reply


def many(question: DNSRecord) -> DNSRecord:
    return answer(question, *(f"orders.test. 60 A 10.0.{number // 250}.{number % 250}" for number in range(600)))


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (lambda question: answer(question, code="SERVFAIL"), "has failed"),
        (lambda question: answer(question, code="REFUSED"), "refuses"),
        (lambda question: answer(question, code="NOTIMP"), "does not know"),
        (lambda question: answer(question, code="FORMERR"), "does not understand"),
        (lambda question: None, r"no answer within 0\.4 s"),
        (garbage, "makes no sense"),
        (truncated, "no server can be reached"),
        (
            lambda question: answer(question, "orders.test. 60 CNAME b.test.", "b.test. 60 CNAME orders.test."),
            "lead in a circle",
        ),
    ],
    ids=["failed", "refused", "unknown", "misunderstood", "silent", "garbage", "truncated", "circle"],
)
def test_what_is_no_answer_is_trouble_and_says_what_it_is(says: object, words: str) -> None:
    """Never an empty answer, which would be believed, and never another exception."""
    with DnsServer(says) as server, pytest.raises(Trouble, match=words):  # type: ignore[arg-type]
        ask(server.address, "orders.test", timeout=0.4)


def test_nobody_there_is_trouble() -> None:
    """A server that is down, or another address than it has."""
    with DnsServer(lambda question: None) as server:
        gone = server.address
    with pytest.raises(Trouble, match="no server can be reached"):
        ask(gone, "orders.test", timeout=0.4)


def test_an_answer_that_is_too_long_for_a_datagram_comes_over_tcp() -> None:
    """All of it."""
    with DnsServer(truncated, tcp=many) as server:
        assert len(ask(server.address, "orders.test").records) == 600


def test_records_of_other_names_do_not_count() -> None:
    """Whoever answers must not say anything about what was not asked; an alias has the time of its shortest part."""

    def says(question: DNSRecord) -> DNSRecord:
        lines = ("orders.test. 9 CNAME real.test.", "real.test. 60 A 10.0.0.1", "other.test. 60 A 10.6.6.6")
        return answer(question, *lines)

    with DnsServer(says) as server:
        assert [(one.data, one.ttl) for one in ask(server.address, "orders.test").records] == [("10.0.0.1", 9)]


def test_addresses_beside_srv_records_are_those_of_their_targets() -> None:
    """What else is beside them is left alone, and nothing is asked for twice."""

    def says(question: DNSRecord) -> DNSRecord:
        beside = ["a.test. 60 A 10.0.0.1", "evil.test. 60 A 10.6.6.6"]
        return answer(question, "orders.mesh.test. 60 SRV 0 1 9001 a.test.", extra=beside)

    with DnsServer(says) as server:
        assert labels(instances(server.address, "orders", record="srv")) == [("10.0.0.1", 9001, 1)]
        assert server.asked == 1


def test_what_the_library_remembers_is_forgotten_in_time() -> None:
    """An answer that wants to hold for a day holds for ``max_ttl``; questions that are open end as they would have."""
    now = 0.0
    says = {("orders.test", "A"): ["orders.test. 86400 A 10.0.0.1"]}

    async def asking(server: DnsServer) -> None:
        nonlocal now
        resolver = AresResolver(
            asyncio.get_running_loop(), Clock(lambda: now), Settings(servers=(server.address,), max_ttl=300.0)
        )
        assert (await resolver.ask("orders.test", "A")).records[0].data == "10.0.0.1"
        says["orders.test", "A"] = ["orders.test. 86400 A 10.0.0.2"]
        slow = asyncio.ensure_future(resolver.ask("orders.test", "A"))
        await asyncio.sleep(0)
        now = 300.0
        assert (await resolver.ask("orders.test", "A")).records[0].data == "10.0.0.2"
        assert (await slow).records
        await resolver.close()

    with DnsServer(zone(says)) as server:
        uvloop.run(asking(server))


# A whole sidecar

REGISTRY = """
[registry]
kind = "dns"
[registry.dns]
servers = ["%s"]
domains = ["mesh.test"]
srv = "_http._tcp"
timeout = "300ms"
min_ttl = "50ms"
"""


def records(*upstreams: Upstream) -> dict[tuple[str, str], list[str]]:
    lines = [f"_http._tcp.orders.mesh.test. 0 SRV 0 1 {one.port} local.mesh.test." for one in upstreams]
    return {("_http._tcp.orders.mesh.test", "SRV"): lines, ("local.mesh.test", "A"): ["local.mesh.test. 0 A 127.0.0.1"]}


def test_calls_go_where_the_names_lead_and_a_server_that_is_down_changes_nothing() -> None:
    """Both instances get calls; one that is not there any more gets none; nothing fails while nobody answers."""
    one, two = (Upstream(answering(OK[:-2] + word)) for word in (b"No", b"1!"))
    with one, two, DnsServer(zone(records(one, two))) as server, Sidecar(REGISTRY % server.address) as sidecar:
        with Client(sidecar.ports["outbound"]) as client:

            def called(host: str = "orders", times: int = 20) -> set[bytes]:
                responses = [client.get(host) for _ in range(times)]
                assert {response.status for response in responses} == {200}, responses
                return {response.body for response in responses}

            assert called() == called("orders.mesh") == called("orders.mesh.test:8080") == {b"No", b"1!"}
            assert client.get("nobody").reason == client.get("nobody.mesh.test").reason == "no_route"
            assert client.get("orders.example.com").reason == "no_route"
            server.says = zone(records(two))
            until(lambda: called() == {b"1!"}, "the one that is gone is not called any more")
            server.stop()
            until(lambda: "cannot be looked up" in sidecar.probe("/health/ready").body.decode(), "it is told")
            assert sidecar.probe("/health/ready").status == 200
            assert called(times=100) == {b"1!"}
            server.says = zone(records(one, two))
            server.start()
            until(lambda: called() == {b"No", b"1!"}, "the one that is back is called")
            until(lambda: "DNS works again" in sidecar.log(), "it is told that all is well")


def test_a_service_that_is_configured_has_its_names_from_the_start() -> None:
    """It is ready when it has an answer, of whatever kind."""
    with Upstream(answering()) as one, DnsServer(zone(records(one))) as server:
        text = REGISTRY % server.address + '[services.orders]\ntimeout = "2s"\n[services.nobody]\ntimeout = "2s"\n'
        with Sidecar(text) as sidecar, Client(sidecar.ports["outbound"]) as client:
            assert sidecar.probe("/health/ready").status == 200
            assert client.get("orders").status == 200
            assert client.get("nobody").reason == "no_endpoints"


def test_check_asks_dns_before_anybody_else_does(tmp_path: Path) -> None:
    """Whether it answers, and whether the services that are configured are there; without one, whether it answers."""
    with Upstream(answering()) as one, DnsServer(zone(records(one))) as server:
        head = '[service]\nname = "shop"\n[listen]\ninbound = "none"\noutbound = "127.0.0.1:0"\nadmin = "none"\n'
        head += 'probes = "none"\n' + REGISTRY % server.address
        orders = written(tmp_path, "[services.orders]\n", head=head)
        code, lines = checked(orders)
        assert code == 0 and lines.count("DNS answers") == 1
        assert "the services that are configured have addresses in DNS: 1" in lines
        code, lines = checked(written(tmp_path, "[services.orders]\n[services.nobody]\n", head=head))
        assert code == 0 and "nobody has no address in DNS" in lines
        server.stop()
        code, lines = checked(orders)
        assert code == 1
        assert "DNS does not answer: _http._tcp.orders.mesh.test: no server can be reached" in lines
        code, lines = checked(written(tmp_path, "", head=head))
        assert code == 1 and "DNS does not answer: _http._tcp.sidecar-check.mesh.test: no server" in lines


def checked(path: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", "--config", path])
    return result.exit_code, result.output
