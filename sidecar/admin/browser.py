"""Against pages in the operator's own browser, which can reach loopback as well as the operator can.

A page of somewhere else can make that browser send a request here. It cannot read the answer, since no answer ever
allows it to (CORS), but a POST would have done its work by then; and with a name of its own that it lets point to
127.0.0.1 after the page was loaded (DNS rebinding) it is not even somewhere else any more. Three things tell such
requests from honest ones, and a page can change none of them:

- ``Host`` is the name that the page was loaded from. A name has to be resolved, and whoever owns it decides how; so only
  ``localhost`` and plain addresses of this machine are served.
- ``Origin`` and ``Sec-Fetch-Site`` say where the request comes from.
- A POST of ``application/json`` to elsewhere must be asked for first (a preflight), and that is never granted.

(Fetch Standard, sections 3.2 and 4.8; W3C Fetch Metadata, section 2.4.)
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from sidecar.http.head import Request

OURS: Final = frozenset((b"same-origin", b"none"))
"""``Sec-Fetch-Site`` of our own pages, and of what the operator typed."""

PROTECTION: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"x-content-type-options", b"nosniff"),
)
"""On every answer: nothing in it is kept, run, or taken for another kind of thing than it is."""


def objection(head: Request, bound: str | None) -> str | None:
    """Why the request is not served, if so. ``bound`` is the address at which we listen."""
    if not _is_ours(head.host, bound):
        return (
            f"the host {head.host[:100]!r} is not this sidecar: names can be made to point anywhere, so it is asked"
            " by localhost or by its address"
        )
    origin = head.get(b"origin")
    if origin is not None and origin.lower() != b"http://" + head.authority().encode():
        return f"a page of {origin[:100].decode('latin-1')!r} has no business here"
    site = head.get(b"sec-fetch-site")
    if site is not None and site.lower() not in OURS:
        return "a browser sent this for a page of another site"
    return None


def _is_ours(host: str, bound: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    if address.is_loopback or bound is None:
        return address.is_loopback
    ours = ip_address(bound)
    return ours.is_unspecified or address == ours


def is_json(head: Request) -> bool:
    """Whether the request says that it brings JSON: what a page cannot send elsewhere without being allowed to."""
    kind = head.get(b"content-type")
    return kind is not None and kind.partition(b";")[0].strip().lower() == b"application/json"
