"""``[registry.consul]``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sidecar.model import Duration

Agent = Annotated[str, Meta(title="agent")]
Path = Annotated[str, Meta(title="file")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the agent is and how it is spoken to. Durations in seconds."""

    address: Annotated[
        Agent, Meta(description="The agent beside us: it keeps our registration, and is asked for others.")
    ] = "http://127.0.0.1:8500"
    agents: Annotated[
        tuple[Agent, ...], Meta(description="Further agents that are asked for others while the first does not answer.")
    ] = ()
    token_file: Annotated[
        Path | None, Meta(description="The ACL token; read again whenever it has changed. The token itself is no key.")
    ] = None
    datacenter: Annotated[str | None, Meta(description="The one whose services are called; not set: the agent's.")] = (
        None
    )
    ca_file: Annotated[Path | None, Meta(description="Who may have signed the agent's certificate.")] = None
    cert_file: Annotated[Path | None, Meta(description="Our certificate, where the agent asks for one.")] = None
    key_file: Annotated[Path | None, Meta(description="Its key.")] = None
    ttl: Annotated[
        Duration, Meta(ge=3.0, description="After so long without a sign of life our instance is critical.")
    ] = 15.0
    deregister_after: Annotated[
        Duration, Meta(ge=60.0, description="And after so long in that state Consul removes it.")
    ] = 60.0
    watches: Annotated[
        int, Meta(ge=1, le=10_000, description="Open questions at a time. An agent takes 200 connections by default.")
    ] = 100
