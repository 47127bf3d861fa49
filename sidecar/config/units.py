"""How values are written in the configuration, and how they are printed again.

Every parser takes what TOML gave (or the text of a flag), returns the value that the parts work with, and raises
``ValueError`` with a sentence for people. Durations are seconds, sizes are bytes. Decimals keep ``"0.1s"`` and
``"100ms"`` the same float, so that printing and parsing are each other's inverse.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches

import msgspec

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h)")
_SECONDS = {"h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}

_SIZE = re.compile(r"([0-9]{1,15}) ?(KiB|MiB|GiB|)")
_BYTES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "": 1}

_LABEL = r"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_PORT = re.compile(r"[0-9]{1,5}")


class Address(msgspec.Struct, frozen=True):
    """A host (name, IPv4, or IPv6 without brackets) and a port; prints as it is written."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def shown(value: object) -> str:
    """The value as a message may quote it: short, on one line, and never the inside of a table."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            quoted = ascii(value)[1:-1]
            return f'"{quoted[:60]}…"' if len(quoted) > 60 else f'"{quoted}"'
        case int():
            return str(value) if abs(value) < 1 << 63 else "a huge number"
        case float():
            return str(value)
        case dict():
            return "a table"
        case list():
            return "an array"
        case _:
            return "a date or time"


def hint(word: object, words: Mapping[str, object] | tuple[str, ...]) -> str:
    """`` (did you mean …?)`` where one of ``words`` is close enough, else nothing."""
    if not isinstance(word, str):
        return ""
    begun = [known for known in words if len(word) > 2 and known.startswith(word)]
    close = get_close_matches(word[:100], words, 1) or begun
    return f" (did you mean {listed(close[:1])}?)" if close else ""


def listed(words: Iterable[str]) -> str:
    """Keys as a message may list them: they may be of anybody's making."""
    return ", ".join(shown(word)[1:-1] for word in words)


def parse_duration(value: object) -> float:
    """Seconds of ``"100ms"``, ``"1.5s"``, ``"5m"`` or ``"1h"``."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(Decimal(match[1]) * _SECONDS[match[2]])
    example = '"100ms", "5s" or "1h"'
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6:
        example = f'"{format_duration(value)}"'
    raise ValueError(f"expected a duration with its unit, such as {example}, not {shown(value)}")


def format_duration(seconds: float) -> str:
    """The shortest way to write ``seconds`` (0 or more) that :func:`parse_duration` reads back."""
    exact = Decimal(repr(seconds))
    for unit, factor in _SECONDS.items():
        count = exact / factor
        if count and count == count.to_integral_value():
            return f"{count:.0f}{unit}"
    return f"{exact.normalize():f}s"


def parse_positive_duration(value: object) -> float:
    """As :func:`parse_duration`, but longer than nothing."""
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError(f"expected a duration above zero, not {shown(value)}")
    return seconds


def parse_size(value: object) -> int:
    """Bytes, at least one, of a whole number, or of ``"64KiB"``, ``"10MiB"``, ``"1GiB"``."""
    size = 0
    if isinstance(value, int) and not isinstance(value, bool) and value < 1 << 63:
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        size = int(match[1]) * _BYTES[match[2]]
    if size > 0:
        return size
    raise ValueError(f'expected a size, such as 65536, "64KiB" or "10MiB", not {shown(value)}')


def format_size(size: int) -> str:
    """The shortest way to write ``size`` bytes (1 or more) that :func:`parse_size` reads back."""
    unit, factor = next((unit, factor) for unit, factor in _BYTES.items() if size % factor == 0)
    return f"{size // factor}{unit}"


def parse_host(value: object) -> str:
    """A host name in lower case (names do not care for case, our tables do), or an IP address without brackets."""
    if isinstance(value, str):
        bare = value[1:-1] if value[:1] + value[-1:] == "[]" else value
        if ":" in bare and _is_ip(bare):
            return bare.lower()
        name = value.removesuffix(".")
        # A name whose last label is a number is meant as an IPv4 address, and resolvers read it as one.
        if _HOST.fullmatch(name) and (not name.rpartition(".")[2].isdigit() or _is_ip(name)):
            return name.lower()
    raise ValueError(f"expected a host name or an IP address, not {shown(value)}")


def parse_listener(value: object) -> Address:
    """``host:port``, IPv6 hosts in brackets; port 0 asks for a free one."""
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        if colon and _PORT.fullmatch(port):
            if ":" in host and host[:1] != "[":
                raise ValueError(f'expected an IPv6 host in brackets, such as "[::1]:8080", not {shown(value)}')
            if int(port) > 65535:
                raise ValueError(f"expected a port of at most 65535, not {shown(value)}")
            return Address(parse_host(host), int(port))
    raise ValueError(f'expected host:port, such as "127.0.0.1:8080", not {shown(value)}')


def parse_peer(value: object) -> Address:
    """``host:port`` of somebody who is called, so port 0 is none."""
    address = parse_listener(value)
    if address.port == 0:
        raise ValueError(f"expected a port from 1 to 65535, not {shown(value)}")
    return address


def parse_network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A CIDR such as ``10.0.0.0/8``; a bare address is the network of that address alone."""
    if isinstance(value, str):
        try:
            return ipaddress.ip_network(value)
        except ValueError as error:
            if "host bits" in str(error):
                network = ipaddress.ip_network(value, strict=False)
                raise ValueError(f"has bits set beyond its prefix: {shown(value)} (did you mean {network}?)") from None
    raise ValueError(f'expected a CIDR, such as "10.0.0.0/8", not {shown(value)}')


def matching(pattern: str, expected: str, quoted: bool = True) -> Callable[[object], str]:
    """A parser of texts that match ``pattern`` as a whole; ``quoted``: its message repeats the text."""
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        if isinstance(value, str) and compiled.fullmatch(value):
            return str(value)
        raise ValueError(f"expected {expected}, not {shown(value)}" if quoted else f"expected {expected}")

    return parse


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
