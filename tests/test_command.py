"""What COMMAND finds in its environment; what becomes of it as a process is in tests/live/test_command.py."""

from __future__ import annotations

import pytest

from sidecar.command import variables

LISTENING = {"inbound": ("0.0.0.0", 15006), "outbound": ("127.0.0.1", 15001), "admin": ("::1", 15000)}
EXEMPT = "localhost,127.0.0.1,::1"


def test_it_is_told_the_addresses_of_its_listeners() -> None:
    """In the two cases that programs look for, and beside all that it would have without us."""
    assert variables({"HOME": "/home/shop", "PORT": "1"}, 8080, LISTENING) == {
        "HOME": "/home/shop",
        "PORT": "8080",
        "SIDECAR_OUTBOUND_URL": "http://127.0.0.1:15001",
        "SIDECAR_ADMIN_URL": "http://[::1]:15000",
        "HTTP_PROXY": "http://127.0.0.1:15001",
        "http_proxy": "http://127.0.0.1:15001",
        "NO_PROXY": EXEMPT,
        "no_proxy": EXEMPT,
    }


def test_what_is_not_there_is_not_named() -> None:
    """A proxy that was there before us stays; the listeners of a sidecar around us are not the application's."""
    around = {"HTTP_PROXY": "http://proxy:3128", "SIDECAR_OUTBOUND_URL": "http://127.0.0.1:1"}
    assert variables(around, 8080, {}) == {"HTTP_PROXY": "http://proxy:3128", "PORT": "8080"}


@pytest.mark.parametrize(
    ("bound", "url"),
    [
        (("0.0.0.0", 1), "http://127.0.0.1:1"),
        (("::", 1), "http://[::1]:1"),
        (("::1", 1), "http://[::1]:1"),
        (("10.0.0.1", 1), "http://10.0.0.1:1"),
    ],
)
def test_an_address_that_means_all_is_called_by_one(bound: tuple[str, int], url: str) -> None:
    """Nobody can connect to a wildcard."""
    assert variables({}, 8080, {"outbound": bound})["SIDECAR_OUTBOUND_URL"] == url


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, (EXEMPT, EXEMPT)),
        ({"NO_PROXY": "a, b"}, (f"a,b,{EXEMPT}", f"a,b,{EXEMPT}")),
        ({"no_proxy": "a"}, (f"a,{EXEMPT}", f"a,{EXEMPT}")),
        ({"NO_PROXY": "a", "no_proxy": "b"}, (f"a,{EXEMPT}", f"b,{EXEMPT}")),
        ({"NO_PROXY": "::1,localhost"}, ("::1,localhost,127.0.0.1", "::1,localhost,127.0.0.1")),
        ({"NO_PROXY": "*"}, ("*", "*")),
    ],
)
def test_exceptions_from_the_proxy_are_kept_and_extended(before: dict[str, str], after: tuple[str, str]) -> None:
    """What was to be called directly still is."""
    found = variables(before, 8080, LISTENING)
    assert (found["NO_PROXY"], found["no_proxy"]) == after
