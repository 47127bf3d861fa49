"""Under which address others reach this machine, where nobody has said it."""

from __future__ import annotations

import socket

_SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses of nobody, set aside for documentation (RFC 5737, RFC 3849)."""


def own_address() -> str:
    """The address that this machine would call strangers from, IPv4 where there is one; else 127.0.0.1.

    The system is asked for its way to somewhere. No packet is sent: connecting a datagram socket only looks at routes.
    """
    for family, somewhere in _SOMEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((somewhere, 9))
                return str(asking.getsockname()[0])
        except OSError:
            continue  # There is no way of that family.
    return "127.0.0.1"
