"""Why an exchange failed, as a closed vocabulary, and the error document that says so.

The same word stands in the header ``x-sidecar-reason``, the metric label ``reason``, the log and the docs; the
document is the one of the user's integration patterns ("Error Response Standards").
"""

from __future__ import annotations

import enum

import msgspec


class Failure(enum.Enum):
    """A reason, its status, and its title for people."""

    NO_ROUTE = ("no_route", 404, "No route")
    NO_ENDPOINTS = ("no_endpoints", 503, "No endpoints")
    NO_HEALTHY_ENDPOINT = ("no_healthy_endpoint", 503, "No healthy endpoint")
    BREAKER_OPEN = ("breaker_open", 503, "Circuit breaker open")
    OVERLOADED = ("overloaded", 503, "Overloaded")
    CONNECT_FAILED = ("connect_failed", 502, "Connection failed")
    UPSTREAM_RESET = ("upstream_reset", 502, "Upstream closed the connection")
    UPSTREAM_PROTOCOL = ("upstream_protocol", 502, "Upstream broke the protocol")
    CONNECT_TIMEOUT = ("connect_timeout", 504, "Connection timed out")
    DEADLINE_EXCEEDED = ("deadline_exceeded", 504, "Deadline exceeded")
    STALLED = ("stalled", 504, "Transfer stalled")
    DRAINING = ("draining", 503, "Draining")
    LOOP_DETECTED = ("loop_detected", 508, "Loop detected")
    INTERNAL = ("internal", 500, "Internal error of the sidecar")
    FILTER_FAILED = ("filter_failed", 500, "Filter failed")
    BAD_REQUEST = ("bad_request", 400, "Bad request")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "Method not allowed")
    FORBIDDEN = ("forbidden", 403, "Forbidden")
    EXPECTATION_FAILED = ("expectation_failed", 417, "Expectation failed")
    HTTP_VERSION = ("http_version", 505, "HTTP version not supported")
    HEADERS_TOO_LARGE = ("headers_too_large", 431, "Request headers too large")
    URI_TOO_LONG = ("uri_too_long", 414, "URI too long")
    BODY_TOO_LARGE = ("body_too_large", 413, "Body too large")
    CLIENT_TIMEOUT = ("client_timeout", 408, "The client was too slow")
    NOT_IMPLEMENTED = ("not_implemented", 501, "Not implemented")
    APP_UNREACHABLE = ("app_unreachable", 502, "The application cannot be reached")
    CLIENT_GONE = ("client_gone", 499, "The client left")

    def __init__(self, reason: str, status: int, title: str) -> None:
        self.reason = reason
        self.status = status
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
