"""What ``[registry.dns]`` may say."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sidecar.model import Duration


class DnsRegistry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[registry.dns]``, times in seconds."""

    domains: Annotated[
        tuple[Annotated[str, Meta(title="host")], ...],
        Meta(
            description="Where names of services lie, in the order in which they are tried; empty: names as they are."
        ),
    ] = ()
    record: Annotated[
        Literal["auto", "srv", "address"],
        Meta(description="What is asked for: auto takes SRV first where `srv` is set, then addresses (A, else AAAA)."),
    ] = "auto"
    srv: Annotated[
        Annotated[str, Meta(title="srv prefix")] | None,
        Meta(description='What stands before a name when SRV is asked for, such as `"_http._tcp"`; `"none"`: nothing.'),
    ] = None
    port: Annotated[int, Meta(ge=1, le=65535, description="Port of addresses; SRV brings its own.")] = 80
    names: Annotated[
        dict[Annotated[str, Meta(title="name")], Annotated[str, Meta(title="dns name")]],
        Meta(description='Services that have another name in DNS: `"name"`, `"name:port"` or `"srv:_x._tcp.name"`.'),
    ] = {}
    servers: Annotated[
        tuple[Annotated[str, Meta(title="name server")], ...],
        Meta(description="Who is asked, such as `127.0.0.1:53`; empty: whom the system asks."),
    ] = ()
    timeout: Annotated[Duration, Meta(description="How long an answer may take.")] = 2.0
    min_ttl: Annotated[Duration, Meta(description="An answer holds this long at least.")] = 1.0
    max_ttl: Annotated[Duration, Meta(description="An answer holds this long at most.")] = 300.0
