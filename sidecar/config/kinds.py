"""The kinds of values that a key may have beyond what plain types say: each a title, and how it is read.

A title is looked up in three places: here for reading, in ``write`` for printing, and in ``json_schema`` for editors.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from sidecar.config import units
from sidecar.config.units import Address, matching, shown
from sidecar.config.walk import Parser

Wait = Annotated[float, Meta(title="wait")]
Timeout = Annotated[float | None, Meta(title="timeout")]
Listener = Annotated[Address, Meta(title="listener")]
Peer = Annotated[Address, Meta(title="peer")]
Host = Annotated[str, Meta(title="host")]
Network = Annotated[IPv4Network | IPv6Network, Meta(title="network")]
Name = Annotated[str, Meta(title="name")]
ProfileName = Annotated[str, Meta(title="profile name")]
Profile = Annotated[dict[str, Any], Meta(title="profile")]
"""Any tables of the file. They mean something only when laid over it, and are read then."""
Protocol = Literal["auto", "http1", "http2"]
RegistryKind = Annotated[str, Meta(title="registry kind")]
Options = Annotated[dict[str, Any], Meta(title="options")]
"""Keys of somebody else's registry, which says itself what they are."""
TimeoutClass = Annotated[str, Meta(title="timeout class")]
Label = Annotated[str, Meta(title="label")]
Method = Annotated[str, Meta(title="method")]
UrlPath = Annotated[str, Meta(title="path")]
HeaderName = Annotated[str, Meta(title="header name")]
HeaderValue = Annotated[str, Meta(title="header value")]
Weight = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]

_DNS_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME: Final = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*\.?"

PATTERNS: Final[dict[str, tuple[str, str]]] = {
    # Names of services are hosts, header values and metric labels. A name under .mesh would be two services at once.
    "name": (
        r"(?!.*\.mesh$)(?=.{1,253}$)[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?",
        "a service name of lower-case letters, digits, '-', '_' and '.', not under .mesh",
    ),
    "profile name": (r"[A-Za-z0-9_-]{1,64}", "a profile name of letters, digits, '-' and '_'"),
    "timeout class": (r"(?!none$)[A-Za-z_][A-Za-z0-9_-]{0,63}", "a class name that begins with a letter"),
    "label": (r"[!-~]{1,128}", "1 to 128 visible ASCII characters"),
    "method": (r"[A-Z!#$%&'*+.^_`|~0-9-]{1,32}", "a method in capitals, such as GET"),
    "path": (r"/(?:(?![?#])[!-~])*", "a path that begins with / and has no query"),
    "header name": (r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}", "a header name in lower case"),
    "token": (r"[A-Za-z0-9!#$%&'*+.^_`|~-]{0,128}", "the name of a header or a cookie"),
    "header value": (r"[ -~]*", "printable ASCII characters"),
    "agent": (
        r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?",
        'the address of an agent, such as "http://127.0.0.1:8500"',
    ),
    "statuses": (r"[1-5][0-9]{2}(-[1-5][0-9]{2})?", 'a status or a range of them, such as "200" or "200-399"'),
    "health path": (r"/[!-~]{0,2000}", "a path that begins with /, a query included"),
    # What a list of them in a variable is cut at is not among its characters.
    "grpc method": (
        r"/[A-Za-z0-9_.-]{1,256}/([A-Za-z0-9_.-]{1,256}|\*)",
        'a method of gRPC, such as "/package.Service/Method", or "/package.Service/*"',
    ),
    "file": (r"[^\x00]{1,4096}", "the path of a file"),
    "srv prefix": (r"_[A-Za-z0-9_-]{1,62}\._[A-Za-z0-9_-]{1,62}", 'a service and a protocol, such as "_http._tcp"'),
    "dns name": (
        rf"(?=.{{1,260}}$)(srv:{_DNS_NAME}|{_DNS_NAME}(:[0-9]{{1,5}})?)",
        '"name", "name:port" or "srv:_http._tcp.name"',
    ),
}
"""The titles that are texts of a certain form, in an expression that Python and JSON Schema read alike."""


def parse_profile(value: object) -> dict[str, Any]:
    """The raw tables."""
    if isinstance(value, dict):
        return value
    raise ValueError(f"expected a table, not {shown(value)}")


def parse_registry_kind(value: object) -> str:
    """One of ours, or one that is installed."""
    if isinstance(value, str):
        from sidecar.config.installed import BUILT_IN  # It looks at all that is installed, which few need.

        if value in BUILT_IN:
            return str(value)
    words = registry_kinds()
    if isinstance(value, str) and value in words:
        return str(value)
    raise ValueError(f"expected one of {units.listed(words)}, not {shown(value)}{units.hint(value, words)}")


def registry_kinds() -> tuple[str, ...]:
    """Ours, and those that are installed here."""
    from sidecar.config.installed import BUILT_IN, installed

    return (*BUILT_IN, *installed())


def parse_dns_name(value: object) -> str:
    """As the pattern says, with a port from 1 to 65535."""
    name = matching(*PATTERNS["dns name"])(value)
    port = name.removeprefix("srv:").partition(":")[2]
    if port and not 0 < int(port) < 65536:
        raise ValueError(f"expected a port from 1 to 65535, not {shown(port)}")
    return name


def parse_name_server(value: object) -> str:
    """``address:port`` of an IP address: whoever is asked for names cannot have one."""
    if isinstance(value, str):
        for text in (value, f"{value}:53", f"[{value}]:53"):
            with suppress(ValueError):
                address = units.parse_peer(text)
                ip_address(address.host)
                return str(address)
    raise ValueError(f'expected an IP address and a port, such as "127.0.0.1:53", not {shown(value)}')


PARSERS: Final[dict[str, Parser]] = {
    "duration": units.parse_positive_duration,
    "wait": units.parse_duration,
    "size": units.parse_size,
    "listener": units.parse_listener,
    "peer": units.parse_peer,
    "host": units.parse_host,
    "network": units.parse_network,
    "name server": parse_name_server,
    "profile": parse_profile,
    "place": lambda value: str(units.parse_peer(value)),
    "options": parse_profile,
    "registry kind": parse_registry_kind,
    **{title: matching(pattern, expected) for title, (pattern, expected) in PATTERNS.items()},
    "dns name": parse_dns_name,
    # A credential may stand in it, and messages go to logs.
    "header value": matching(*PATTERNS["header value"], quoted=False),
}
"""What each title of a type means; ``timeout`` is missing because its meaning depends on ``[timeouts]``."""
