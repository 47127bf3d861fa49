"""The contenders again, with HTTP/2 in the clear on both sides; what else they are configured to do stays as it is.

The sidecar needs no word about it: a listener knows the preface, and a call goes on in the protocol in which it came.
nginx speaks to its upstream with one stream a connection, of which it keeps as many as there are calls at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench import proxies
from bench.proxies import SIDECAR, Proxy

_PROTOCOL = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Envoy(proxies.Envoy):
    """Retries of what gRPC calls unavailable, of refused streams and failed connections; the rest as with HTTP/1.1."""

    retried = "connect-failure,refused-stream,unavailable"
    downstream: ClassVar = {"codec_type": "HTTP2", "http2_protocol_options": {}}
    upstream: ClassVar = {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _PROTOCOL,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    }


class HAProxy(proxies.HAProxy):
    """Upstream connections are shared by all downstream ones, stream by stream."""

    protocol = "proto h2"


class Nginx(proxies.Nginx):
    """``grpc_pass``."""

    listening = "http2 backlog=4096"
    passing = "grpc_pass grpc://origin; grpc_set_header Host $host;"


_SPEAKING: dict[str, Proxy] = {proxy.name: proxy for proxy in (SIDECAR, Envoy(), HAProxy(), Nginx())}


def speaking(chosen: Sequence[Proxy]) -> list[Proxy]:
    """Those of ``chosen`` that speak HTTP/2 on both sides, made to."""
    return [_SPEAKING[proxy.name] for proxy in chosen if proxy.name in _SPEAKING]
