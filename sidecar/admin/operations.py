"""What the API offers: one table, by which requests are answered, resources are listed and the OpenAPI document is made."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sidecar.admin.documents import (
    ActionAttributes,
    BreakerAttributes,
    DependencyAttributes,
    EndpointAttributes,
    One,
    Page,
    RouteAttributes,
    ServiceAttributes,
    SettingAttributes,
    SidecarAttributes,
)

ROOT: Final = "/api/v1"


class Operation(NamedTuple):
    """``path`` may have ``{name}`` in it, the name of a service. ``document`` is the type of the answer, ``None`` if it is
    the OpenAPI document; ``status`` is the one of success."""

    id: str
    method: str
    path: str
    summary: str
    document: Any
    status: int = 200

    @property
    def listing(self) -> bool:
        """Whether the answer is a page of many."""
        return getattr(self.document, "__origin__", None) is Page


OPERATIONS: Final = (
    Operation("describe", "GET", ROOT, "This sidecar, and all that is served here.", One[SidecarAttributes]),
    Operation("openapi", "GET", f"{ROOT}/openapi.json", "The OpenAPI document of this API.", None),
    Operation(
        "services", "GET", f"{ROOT}/services", "The services, with their load and limits.", Page[ServiceAttributes]
    ),
    Operation(
        "endpoints",
        "GET",
        f"{ROOT}/services/{{name}}/endpoints",
        "The endpoints of one service, with their breakers and connections.",
        Page[EndpointAttributes],
    ),
    Operation("all-endpoints", "GET", f"{ROOT}/endpoints", "The endpoints of all services.", Page[EndpointAttributes]),
    Operation("breakers", "GET", f"{ROOT}/breakers", "The circuit breakers of all endpoints.", Page[BreakerAttributes]),
    Operation(
        "routes",
        "GET",
        f"{ROOT}/routes",
        "The routes, with their policies and what has happened on them since the start.",
        Page[RouteAttributes],
    ),
    Operation(
        "dependencies",
        "GET",
        f"{ROOT}/dependencies",
        "What the application needs beside services, and whether it is well.",
        Page[DependencyAttributes],
    ),
    Operation("config", "GET", f"{ROOT}/config", "The configuration that runs.", Page[SettingAttributes]),
    Operation("reload", "POST", f"{ROOT}/reload", "Read the configuration again, and go by it.", One[ActionAttributes]),
    Operation(
        "drain", "POST", f"{ROOT}/drain", "Finish what runs, take nothing new, and stay.", One[ActionAttributes], 202
    ),
    Operation("shutdown", "POST", f"{ROOT}/shutdown", "Drain, then end the process.", One[ActionAttributes], 202),
)
