"""A sidecar's admin listener without a socket: requests as bytes, answers as documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tests.support.live import Response
from tests.support.world import ONE_ENDPOINT, World

JSON = "content-type: application/json\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"


class Asked:
    """Takes the place of whoever runs the sidecar: what it was told to do, and the reload that waits for its end."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.reloaded: Callable[[Sequence[str]], None] | None = None

    def reload(self, done: Callable[[Sequence[str]], None]) -> None:
        self.told.append("reload")
        self.reloaded = done

    def drain(self) -> None:
        self.told.append("drain")

    def shutdown(self) -> None:
        self.told.append("shutdown")


class Admin:
    """A world with a connection to its admin listener."""

    def __init__(self, toml: str = ONE_ENDPOINT, actions: Asked | None = None) -> None:
        self.world = World(toml, actions=actions)
        self.client = self.world.client("admin")

    def ask(self, path: str, method: str = "GET", fields: str = "", host: str = "127.0.0.1:15000") -> Response:
        """The answer to a request without a body."""
        self.send(path, method, fields, host)
        return self.response()

    def send(self, path: str, method: str = "GET", fields: str = "", host: str = "127.0.0.1:15000") -> None:
        self.client.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
        self.world.settle()

    def response(self) -> Response:
        raw = self.client.take()
        head, _, body = raw.partition(b"\r\n\r\n")
        response = Response(head + b"\r\n\r\n", body)
        if response.fields.get("transfer-encoding") == "chunked":
            response.body = dechunked(body)
        return response

    def document(self, path: str) -> Any:
        response = self.ask(path)
        assert response.status == 200, response
        return msgspec.json.decode(response.body)

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The attributes of each thing on a page."""
        return [one["attributes"] for one in self.document(path)["data"]]

    def refused(
        self, path: str, method: str = "GET", fields: str = "", host: str = "localhost"
    ) -> tuple[int, str, str]:
        """Status, reason and detail of a refusal, which must be an error document."""
        response = self.ask(path, method, fields, host)
        (error,) = msgspec.json.decode(response.body)["errors"]
        assert (error["status"], error["code"]) == (str(response.status), response.reason.upper())
        return response.status, response.reason, error["detail"]

    def call(self, answer: bytes = OK, method: str = "GET", seconds: float = 0.02) -> None:
        """The application calls orders, whose endpoint takes ``seconds`` and answers so."""
        client = self.world.client()
        client.send(f"{method} / HTTP/1.1\r\nHost: orders\r\n\r\n".encode())
        pool = self.world.endpoints[0].pool
        server = self.world.accept() if self.world.dialing else pool and self.world.peers[-2]
        self.world.pass_time(seconds)
        server.send(answer)  # type: ignore[union-attr]
        client.end()
        server.end()  # type: ignore[union-attr]
        self.world.settle()


def dechunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole
