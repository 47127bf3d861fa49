"""Why an exchange failed, as a closed vocabulary, and the error document that says so.

The same word stands in the header ``x-sidecar-reason``, the metric label ``reason``, the log and the docs; the
document is the one of the user's integration patterns ("Error Response Standards").
"""

from __future__ import annotations

import enum
from typing import Final, Literal, get_args

import msgspec

GrpcError = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
"""The statuses by which a gRPC call says that it failed, in the order of their numbers, from 1 on.

(https://github.com/grpc/grpc/blob/master/doc/statuscodes.md)
"""

GRPC_STATUSES: Final[tuple[str, ...]] = ("OK", *get_args(GrpcError))
"""Every status of gRPC; where it stands is its number."""


class Failure(enum.Enum):
    """A reason, its status, the one of gRPC, and its title for people."""

    NO_ROUTE = ("no_route", 404, "UNIMPLEMENTED", "No route")
    NO_ENDPOINTS = ("no_endpoints", 503, "UNAVAILABLE", "No endpoints")
    NO_HEALTHY_ENDPOINT = ("no_healthy_endpoint", 503, "UNAVAILABLE", "No healthy endpoint")
    BREAKER_OPEN = ("breaker_open", 503, "UNAVAILABLE", "Circuit breaker open")
    OVERLOADED = ("overloaded", 503, "UNAVAILABLE", "Overloaded")
    CONNECT_FAILED = ("connect_failed", 502, "UNAVAILABLE", "Connection failed")
    UPSTREAM_RESET = ("upstream_reset", 502, "UNAVAILABLE", "Upstream closed the connection")
    UPSTREAM_PROTOCOL = ("upstream_protocol", 502, "INTERNAL", "Upstream broke the protocol")
    CONNECT_TIMEOUT = ("connect_timeout", 504, "UNAVAILABLE", "Connection timed out")
    DEADLINE_EXCEEDED = ("deadline_exceeded", 504, "DEADLINE_EXCEEDED", "Deadline exceeded")
    STALLED = ("stalled", 504, "UNAVAILABLE", "Transfer stalled")
    DRAINING = ("draining", 503, "UNAVAILABLE", "Draining")
    LOOP_DETECTED = ("loop_detected", 508, "INTERNAL", "Loop detected")
    INTERNAL = ("internal", 500, "INTERNAL", "Internal error of the sidecar")
    FILTER_FAILED = ("filter_failed", 500, "INTERNAL", "Filter failed")
    BAD_REQUEST = ("bad_request", 400, "INTERNAL", "Bad request")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "UNIMPLEMENTED", "Method not allowed")
    FORBIDDEN = ("forbidden", 403, "PERMISSION_DENIED", "Forbidden")
    EXPECTATION_FAILED = ("expectation_failed", 417, "INTERNAL", "Expectation failed")
    HTTP_VERSION = ("http_version", 505, "INTERNAL", "HTTP version not supported")
    HEADERS_TOO_LARGE = ("headers_too_large", 431, "RESOURCE_EXHAUSTED", "Request headers too large")
    URI_TOO_LONG = ("uri_too_long", 414, "RESOURCE_EXHAUSTED", "URI too long")
    BODY_TOO_LARGE = ("body_too_large", 413, "RESOURCE_EXHAUSTED", "Body too large")
    CLIENT_TIMEOUT = ("client_timeout", 408, "DEADLINE_EXCEEDED", "The client was too slow")
    NOT_IMPLEMENTED = ("not_implemented", 501, "UNIMPLEMENTED", "Not implemented")
    APP_UNREACHABLE = ("app_unreachable", 502, "UNAVAILABLE", "The application cannot be reached")
    CLIENT_GONE = ("client_gone", 499, "CANCELLED", "The client left")

    def __init__(self, reason: str, status: int, grpc: GrpcError, title: str) -> None:
        self.reason = reason
        self.status = status
        self.grpc = GRPC_STATUSES.index(grpc)
        """The number of the status that a gRPC call is answered with."""
        self.title = title


def document(
    failure: Failure, detail: str, source: str, request_id: str, timestamp: str, parameter: str | None = None
) -> bytes:
    """The error document as JSON bytes. ``source`` is ``<service>/<listener>``, ``timestamp`` RFC 3339.

    ``parameter``: the one of the query that is at fault.
    """
    where = {"sidecar": source} if parameter is None else {"sidecar": source, "parameter": parameter}
    error = {
        "id": f"err_{request_id}",
        "status": str(failure.status),
        "code": failure.reason.upper(),
        "title": failure.title,
        "detail": detail,
        "source": where,
        "meta": {"timestamp": timestamp, "requestId": request_id},
    }
    return msgspec.json.encode({"errors": [error]}) + b"\n"
