"""What must not be shown: told by its name, since nothing else is known of it."""

from __future__ import annotations

from typing import Final

REDACTED: Final = "(redacted)"
"""Printable ASCII, so that a configuration that shows it is still one."""

_NAMES: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_WORDS: Final = ("token", "secret", "password", "key")


def is_secret(name: str) -> bool:
    """Whether a header or a key that somebody named so is likely to hold a credential."""
    name = name.lower()
    return name in _NAMES or any(word in name for word in _WORDS)
