"""Whatever peers send: three parsers must not disagree about what was said.

We believe something about a stream, h11 reads what we made of it, and llhttp (the parser of Node.js) says what it thinks
of the original. A request that reaches an endpoint has to be the one that we believed; one that llhttp rejects must be
none; and nobody gets bytes that were meant for somebody else. The examples are the same in every run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import h11
import httptools
from hypothesis import HealthCheck, example, given, settings

from sidecar.errors import Failure
from sidecar.http.h1.request import RequestHead
from sidecar.http.head import Field
from sidecar.proxy.downstream import DownstreamConnection
from tests.support.world import Peer, World
from tests.wire.mutants import REQUESTS, RESPONSES, mutants
from tests.wire.peers import ONCE, Message, requests, responses

EXAMPLES = settings(max_examples=1000, suppress_health_check=list(HealthCheck))
# What llhttp refuses and we do not, each for its reason.
METHODS = frozenset(b"GET HEAD POST PUT DELETE OPTIONS".split())
"""llhttp has a list of methods; to us any token is one."""


@dataclass
class Believed:
    """One request as we understood it: whoever answers it, with an ear on what it is told."""

    exchange: object
    head: RequestHead
    body: bytes = b""
    whole: bool = False

    def start(self, body: bytes, end: bool) -> None:
        self.body, self.whole = body, end
        self.exchange.start(body, end)  # type: ignore[attr-defined]

    def request_body(self, data: bytes) -> None:
        self.body += data
        self.exchange.request_body(data)  # type: ignore[attr-defined]

    def request_end(self, data: bytes, trailers: list[Field]) -> None:
        self.body += data
        self.whole = True
        self.exchange.request_end(data, trailers)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self.exchange, name)


@dataclass
class Run:
    """A client's stream, sent through a sidecar to endpoints that answer every whole request with its number."""

    data: bytes
    cuts: list[int]
    believed: list[Believed] = field(default_factory=list)
    reached: list[tuple[Message, Believed]] = field(default_factory=list)
    """What h11 read at the endpoints, and what we believed of the same request."""
    unfinished: list[Peer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(ONCE)
        listener = self.world.sidecar.listeners["outbound"]
        begin = listener.begin

        def listening(head: RequestHead, connection: DownstreamConnection) -> Believed:
            # What is passed to an exchange that has just begun would be lost on an ear that comes later.
            believed = Believed(None, head)
            self.believed.append(believed)
            believed.exchange = begin(head, connection)
            return believed

        listener.begin = listening  # type: ignore[assignment]
        self.client = self.world.client()
        self.servers: list[Peer] = []
        for begin_at, end_at in pairwise(self.cuts):
            if not self.client.over:
                self.client.send(self.data[begin_at:end_at])
            self._endpoints()
        for server in self.servers:
            if server.received:
                self.unfinished.append(server)

    def _endpoints(self) -> None:
        busy = True
        while busy:
            busy = False
            while self.world.dialing:
                self.servers.append(self.world.accept())
            for server in self.servers:
                found = requests(bytes(server.received))
                if found and found[-1].whole:
                    assert len(found) == 1, "two requests on one connection at a time"
                    server.take()
                    number = b"%d" % len(self.reached)
                    self.reached.append((found[0], self.believed[-1]))
                    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(number), number))
                    busy = True


def accepted_by_llhttp(data: bytes) -> tuple[int, bool]:
    """How many whole requests llhttp reads before it has something to say against the stream, and whether it has."""

    class Counter:
        complete = 0

        def on_message_complete(self) -> None:
            self.complete += 1

    counter = Counter()
    parser = httptools.HttpRequestParser(counter)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return counter.complete, False  # It stops reading there; we ignore most upgrades and read on.
    except httptools.HttpParserError:
        return counter.complete, True
    return counter.complete, False


@EXAMPLES
@given(mutants(REQUESTS, 3))
@example((REQUESTS[4] + REQUESTS[5], [0, 20, 151, 180, len(REQUESTS[4] + REQUESTS[5])]))
def test_what_reaches_an_endpoint_is_what_we_believed(mutant: tuple[bytes, list[int]]) -> None:
    """h11 reads the same method, target, host and body; what is unfinished there is broken off or still under way."""
    run = Run(*mutant)
    for request, belief in run.reached:
        assert belief.whole
        assert (request.method, request.target, request.body) == (belief.head.method, belief.head.target, belief.body)
        host = request.get(b"host") or b""
        assert host.lower().partition(b":")[0].rstrip(b".").decode() == belief.head.host
        assert not {b"upgrade", b"connection", b"te", b"keep-alive"}.intersection(name for name, _ in request.fields)
    for server in run.unfinished:
        assert server.aborted or not run.client.half_closed
    if not run.believed:
        assert not run.servers, "nobody is asked for what is no request"


@EXAMPLES
@given(mutants(REQUESTS, 3))
def test_every_answer_is_the_endpoints_to_this_request_or_ours(mutant: tuple[bytes, list[int]]) -> None:
    """In their order, none twice, none to another request; ours name a reason of the vocabulary."""
    run = Run(*mutant)
    methods = [one.head.method for one in run.believed]
    sent = run.client.take()
    found: list[Message] = []
    for method in [*methods, b"GET"]:
        if not sent:
            break
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(sent)
        message, sent = _one(client)
        found.append(message)
    assert sent == b""
    numbers = []
    for at, answer in enumerate(found):
        if answer.reason:
            assert answer.status == next(one.status for one in Failure if one.reason == answer.reason)
        else:
            assert answer.status == 200
            if run.believed[at].head.method != b"HEAD":
                number = int(answer.body)
                assert run.reached[number][1] is run.believed[at]
                numbers.append(number)
    assert numbers == sorted(set(numbers))


def _one(client: h11.Connection) -> tuple[Message, bytes]:
    message = Message(b"", b"", 0, [], b"", [], False)
    while not message.whole:
        event = client.next_event()
        if isinstance(event, h11.Response):
            message.status, message.fields = event.status_code, list(event.headers)
        elif isinstance(event, h11.Data):
            message.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            message.whole = True
        else:
            assert isinstance(event, h11.InformationalResponse), f"an answer that is not whole: {event}"
    return message, client.trailing_data[0]


@EXAMPLES
@given(mutants(REQUESTS, 2))
def test_what_llhttp_rejects_is_no_request_to_us(mutant: tuple[bytes, list[int]]) -> None:
    """We are the stricter one of the two, except for methods, of which it has a list."""
    run = Run(*mutant)
    complete, rejected = accepted_by_llhttp(mutant[0])
    if rejected and all(one.head.method in METHODS for one in run.believed):
        assert sum(one.whole for one in run.believed) <= complete


@EXAMPLES
@given(mutants(RESPONSES, 2))
def test_nobody_gets_the_bytes_of_another(mutant: tuple[bytes, list[int]]) -> None:
    """Endpoints that say anything at all: each client reads its own number or a reason, and the same as h11 from there."""
    data, cuts = mutant
    world = World(ONCE)
    servers: list[Peer] = []
    for number in range(1000, 1004):
        client = world.client()
        client.send(b"GET /%d HTTP/1.1\r\nHost: orders\r\n\r\n" % number)
        while world.dialing:
            servers.append(world.accept())
        (server,) = [one for one in servers if one.received and not one.over]
        assert requests(server.take())[0].target == b"/%d" % number
        mine = data.replace(b"NNNN", b"%d" % number)
        for begin_at, end_at in pairwise(cuts):
            server.send(mine[begin_at:end_at])
        server.end()
        world.settle()
        sent = client.take()
        others = [b"%d" % other for other in range(1000, 1004) if other != number]
        assert not [other for other in others if b"nonce-" + other in sent]
        assert sent, "a client without an answer"
        said = responses(sent)[-1]
        if said.whole and not said.reason:
            meant = final_of(mine)
            assert (said.status, said.body) == (meant.status, meant.body)


def final_of(data: bytes) -> Message:
    """The response to one GET that h11 reads in an endpoint's bytes, whatever lies behind it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=b"GET", target=b"/", headers=[(b"host", b"a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    return _one(client)[0]
