"""HTTP/2 with curl, nghttp, h2load and nghttpd: it comes through as it came."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.http2_tools import Nghttpd, curl2, h2load, nghttp
from tests.support.live import Sidecar, answering
from tests.support.live import Upstream as Server

BIG = random.Random(1).randbytes(20_000_000)
HELD = 20_000_000


@contextmanager
def mesh(
    address: str, through: str = "one", policies: str = "", inbound: str = ""
) -> Iterator[tuple[int, list[Sidecar]]]:
    """The port to call, and the sidecars on the way to ``address``."""
    if through == "direct":
        yield int(address.rpartition(":")[2]), []
    elif through == "one":
        with Sidecar(f'[services.orders]\nendpoints = ["{address}"]\n{policies}') as sidecar:
            yield sidecar.ports["outbound"], [sidecar]
    else:
        with Sidecar(inbound, app=address) as callee:
            with mesh(f"127.0.0.1:{callee.ports['inbound']}", "one", policies) as (port, sidecars):
                yield port, [*sidecars, callee]


@pytest.mark.parametrize("through", ["direct", "one", "two"])
def test_curl_gets_and_posts(through: str) -> None:
    """Small and large, up and down, without more memory than a few windows."""
    with (
        Nghttpd({"small": b"hello", "empty": b"", "big": BIG}) as server,
        mesh(server.address, through) as (port, sidecars),
    ):
        assert curl2(port, "/small", "-w", " %{http_version} %{http_code}") == b"hello 2 200"
        before = [sidecar.memory("VmHWM") for sidecar in sidecars]
        assert curl2(port, "/empty", "-w", "%{http_code}") == b"200"
        assert curl2(port, "/none", "-o", "/dev/null", "-w", "%{http_code}") == b"404"
        assert curl2(port, "/big") == BIG
        assert curl2(port, "/", "--data-binary", "@-", stdin=b"hello") == b"hello"
        assert curl2(port, "/", "--data-binary", "@-", stdin=BIG) == BIG
        # From a pipe it knows no length.
        assert curl2(port, "/", "-T", "-", "-X", "POST", stdin=BIG) == BIG
        after = [sidecar.memory("VmHWM") for sidecar in sidecars]
        assert all(new - old < HELD for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("through", ["direct", "one", "two"])
def test_answers_without_a_body(through: str) -> None:
    """HEAD says how long it would be, and so may 304."""
    with Nghttpd({"small": b"hello"}) as server, mesh(server.address, through) as (port, _):
        head = curl2(port, "/small", "-I").decode()
        assert "HTTP/2 200" in head
        assert "content-length: 5" in head
        (modified,) = re.findall(r"last-modified: (.*)\r", head)
        answer = curl2(port, "/small", "-i", "-H", f"if-modified-since: {modified}")
        assert answer.startswith(b"HTTP/2 304")
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("through", ["direct", "one", "two"])
def test_trailers_come_behind_the_body(through: str) -> None:
    """As trailers: after the last byte."""
    with Nghttpd({"small": b"hello"}, "--trailer", "x-sum: 7") as server, mesh(server.address, through) as (port, _):
        account = nghttp(port, "/small")
        assert account.index(":status: 200") < account.index("hello") < account.index("x-sum: 7")


@pytest.mark.parametrize("through", ["direct", "one", "two"])
@pytest.mark.parametrize(
    ("client", "server"),
    [
        (["--padding=200"], ["--padding=200"]),
        (["--window-bits=10", "--connection-window-bits=16"], ["--window-bits=10"]),
        (["--header-table-size=0"], ["--header-table-size=0", "--encoder-header-table-size=0"]),
        (["--multiply=50", "--max-concurrent-streams=1"], ["--max-concurrent-streams=1"]),
        (["--expect-continue"], []),
        (["--trailer=x-sum: 7", "--continuation"], []),
    ],
    ids=lambda value: " ".join(value),
)
def test_nghttp_asks_in_every_way_that_it_can(
    client: list[str], server: list[str], through: str, tmp_path: Path
) -> None:
    """Padding, tiny windows, no dynamic table, one stream at a time, CONTINUATION; the body comes back whole each time."""
    body = b"0123456789abcdef" * 5_000
    (tmp_path / "body").write_bytes(body)
    with Nghttpd({}, *server) as there, mesh(there.address, through) as (port, _):
        account = nghttp(port, "/", "-d", str(tmp_path / "body"), *client)
        times = 50 if "--multiply=50" in client else 1
        assert len(re.findall(r":status: 200", account)) == times
        assert account.count("0123456789abcdef" * 4) > 0
        assert "RST_STREAM" not in account


@pytest.mark.parametrize("through", ["direct", "one", "two"])
@pytest.mark.parametrize("path", ["/small", "/large"])
def test_h2load_is_answered_every_time(path: str, through: str) -> None:
    """2,000 requests of ten connections, up to 50 of each at a time."""
    with (
        Nghttpd({"small": b"hello", "large": BIG[:50_000]}) as server,
        mesh(server.address, through) as (port, sidecars),
    ):
        account = h2load(port, path, "-n", "2000", "-c", "10", "-m", "50")
        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in account
        assert "2000 2xx, 0 3xx, 0 4xx, 0 5xx" in account
        for sidecar in sidecars:
            assert sidecar.requests(status="200") == 2_000
            assert "Traceback" not in sidecar.log()


@pytest.mark.parametrize("through", ["one", "two"])
def test_h2load_of_an_application_that_speaks_http_1(through: str) -> None:
    """Each stream is a request of its own there, on connections that are kept."""
    with Server(answering()) as server:
        http1 = 'protocol = "http1"\n'
        policies, inbound = (http1, "") if through == "one" else ("", "[inbound]\n" + http1)
        with mesh(server.address, through, policies, inbound) as (port, sidecars):
            account = h2load(port, "/", "-n", "2000", "-c", "10", "-m", "50")
            assert "2000 2xx, 0 3xx, 0 4xx, 0 5xx" in account
            assert server.accepted <= 600
            for sidecar in sidecars:
                assert sidecar.requests(status="200") == 2_000
