"""Which requests belong together: a key of 64 bits from what they have in common, for balancers that keep them together.

The hash is one that all sidecars compute alike, so that a user is sent to the same endpoint whoever sends. It spreads
what callers choose themselves, but is no secret: that they can aim at one endpoint is what such a key is for, and its
load is bounded.
"""

from __future__ import annotations

from hashlib import blake2b

from sidecar.balance.settings import RingHash
from sidecar.routing.plan import Key


def key_of(settings: RingHash) -> Key:
    """What tells the key of a request from its head and its caller's address; ``None`` if it has none."""
    name = settings.name.encode()
    match settings.on:
        case "header":
            return lambda head, peer: _hashed(head.get(name.lower()))
        case "cookie":
            return lambda head, peer: _hashed(_cookie(head.get(b"cookie"), name))
        case "path":
            return lambda head, peer: _hashed(head.path())
        case "source":
            return lambda head, peer: _hashed(peer.encode())


def _hashed(value: bytes | None) -> int | None:
    return int.from_bytes(blake2b(value, digest_size=8).digest()) if value else None


def _cookie(field: bytes | None, name: bytes) -> bytes | None:
    """The value of the first cookie of that name, as it came (RFC 6265 section 5.4)."""
    if field is not None:
        for pair in field.split(b";"):
            found, _, value = pair.partition(b"=")
            if found.strip() == name:
                return value.strip()
    return None
