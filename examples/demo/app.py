"""What both sample services share: an HTTP/1.1 application on loopback that answers in JSON and keeps no log."""

from __future__ import annotations

import json
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEALTH = "/health"


class App(BaseHTTPRequestHandler):
    """``GET /health`` is answered here, all else by ``serve``."""

    protocol_version = "HTTP/1.1"
    # Head and body are written one after the other: without this the body waits for the head's acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == HEALTH:
            self.answer(200, {"status": "up"})
        else:
            self.serve()

    def serve(self) -> None:
        raise NotImplementedError

    def answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        # A caller that has given up on a slow answer is gone, which is no fault of ours.
        with suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The mesh's metrics say what happened."""


def run(app: type[App], port: int) -> None:
    ThreadingHTTPServer(("127.0.0.1", port), app).serve_forever()
