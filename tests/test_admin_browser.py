"""Pages in the operator's own browser get nothing from the admin listener, and cannot do anything there."""

from __future__ import annotations

import pytest

from sidecar.admin.browser import objection
from sidecar.http.h1.request import parse
from sidecar.http.head import Settings
from tests.support.admin import JSON, Admin, Asked

EVIL = "origin: http://evil.example\r\n"


def objected(host: str, bound: str | None) -> bool:
    return objection(parse(f"GET /api/v1 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), Settings()), bound) is not None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:15000",
        "localhost.evil.example",
        "foo.localhost",
        "sidecar",
        "127.1",
        "0x7f.1",
        "[::2]",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    """DNS rebinding: the page's own host resolves to 127.0.0.1, and the browser takes us for its origin."""
    admin = Admin(actions=Asked())
    for path, method in [("/api/v1", "GET"), ("/api/v1/shutdown", "POST"), ("/metrics", "GET"), ("/nowhere", "GET")]:
        assert admin.refused(path, method, JSON, host=host)[:2] == (403, "forbidden")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:15000", "localhost.", "127.0.0.1", "127.8.9.1:9", "[::1]:15000"]
)
def test_this_machine_is_served_by_its_own_names(host: str) -> None:
    """With any port: a forwarded one is another than ours."""
    assert Admin().ask("/api/v1", host=host).status == 200


@pytest.mark.parametrize(
    ("host", "bound", "refused"),
    [
        ("10.1.2.3:15000", "10.1.2.3", False),
        ("10.1.2.4", "10.1.2.3", True),
        ("127.0.0.1", "10.1.2.3", False),
        ("sidecar.internal", "10.1.2.3", True),
        ("10.1.2.3", "127.0.0.1", True),
        ("10.1.2.3", "0.0.0.0", False),
        ("[fd00::7]:15000", "::", False),
        ("sidecar.internal", "0.0.0.0", True),
        ("10.1.2.3", None, True),
        ("0.0.0.0", "127.0.0.1", True),
    ],
)
def test_an_address_of_the_network_is_served_where_we_listen_there(host: str, bound: str, refused: bool) -> None:
    """A plain address cannot be made to point elsewhere; a name still can, wherever we listen."""
    assert objected(host, bound) is refused


def test_a_request_without_a_host_is_refused() -> None:
    """HTTP/1.0 does without; whoever asks us does not."""
    admin = Admin()
    admin.client.send(b"GET /api/v1 HTTP/1.0\r\n\r\n")
    assert admin.response().status == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:8080", "https://127.0.0.1:15000", "http://localhost:15000", "",
     "http://127.0.0.1:15000, http://evil.example"],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    """Another port or scheme of this machine is another origin too, and so is that of a sandboxed frame."""
    asked = Asked()
    admin = Admin(actions=asked)
    fields = f"origin: {origin}\r\n"
    assert admin.ask("/api/v1/shutdown", "POST", JSON + fields).reason == "forbidden"
    assert admin.ask("/api/v1/config", fields=fields).reason == "forbidden"
    assert asked.told == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "anything"])
def test_what_a_browser_sends_for_another_site_is_refused(site: str) -> None:
    """An image, a form and a link carry no Origin, but the browser says where they stand."""
    asked = Asked()
    admin = Admin(actions=asked)
    fields = f"sec-fetch-site: {site}\r\n"
    assert admin.ask("/api/v1/drain", "POST", JSON + fields).reason == "forbidden"
    assert admin.ask("/api/v1/services", fields=fields).reason == "forbidden"
    assert asked.told == []


def test_our_own_pages_and_what_was_typed_are_served() -> None:
    """Same origin, or no page at all."""
    asked = Asked()
    admin = Admin(actions=asked)
    own = "origin: http://127.0.0.1:15000\r\nsec-fetch-site: same-origin\r\n"
    assert admin.ask("/api/v1/drain", "POST", JSON + own).status == 202
    assert admin.ask("/api/v1", fields="sec-fetch-site: none\r\n").status == 200


@pytest.mark.parametrize(
    "kind", ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n",
             "content-type: multipart/form-data\r\n", "content-type: text/plain; x=application/json\r\n",
             "content-type: text/plain\r\ncontent-type: application/json\r\n"]
)  # fmt: skip
def test_a_change_must_be_of_a_type_that_forms_cannot_send(kind: str) -> None:
    """What a page may send elsewhere without asking first does nothing here."""
    asked = Asked()
    assert Admin(actions=asked).refused("/api/v1/shutdown", "POST", kind)[:2] == (400, "bad_request")
    assert asked.told == []


@pytest.mark.parametrize("path", ["/api/v1/shutdown", "/api/v1/services", "/metrics", "/nowhere"])
@pytest.mark.parametrize("origin", [EVIL, "origin: http://127.0.0.1:15000\r\n", ""])
def test_a_preflight_is_refused(path: str, origin: str) -> None:
    """So the browser never sends what it asks for."""
    fields = f"{origin}access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n"
    response = Admin().ask(path, "OPTIONS", fields)
    assert response.status in (403, 404, 405)
    assert not [name for name in response.fields if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("path", "method", "fields"),
    [
        ("/api/v1", "GET", ""),
        ("/api/v1/services", "GET", ""),
        ("/api/v1/services", "HEAD", ""),
        ("/api/v1/services?page=9", "GET", ""),
        ("/api/v1/openapi.json", "GET", ""),
        ("/api/v1/drain", "POST", JSON),
        ("/api/v1/drain", "GET", ""),
        ("/api/v1", "GET", EVIL),
        ("/nowhere", "GET", ""),
        ("/metrics", "GET", ""),
        ("/health/ready", "GET", ""),
        ("/health/ready", "POST", JSON),
    ],
)
def test_every_answer_is_protected(path: str, method: str, fields: str) -> None:
    """Nothing is cached, sniffed, run or shared, and nothing tells which software answers."""
    response = Admin(actions=Asked()).ask(path, method, fields)
    assert response.fields["x-content-type-options"] == "nosniff"
    assert response.fields["cache-control"] == "no-store"
    assert response.fields["content-security-policy"] == "default-src 'none'"
    assert "server" not in response.fields
    assert not [name for name in response.fields if name.startswith("access-control")]
