"""Payments, on the bare HTTP server of the standard library, with connections that are kept open."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sidecar.demo.shop.moods import Moods

moods = Moods()


class Payments(BaseHTTPRequestHandler):
    """Says who took the payment: there are two instances."""

    protocol_version = "HTTP/1.1"
    # Head and body are written one after the other: without this the body waits for the head's acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, {"status": "up"})
            return
        fate = moods.next()
        threading.Event().wait(fate.delay)
        if fate.fails:
            self.answer(500, {"error": "the bank does not answer"})
        else:
            self.answer(200, {"paid": True, "by": os.environ.get("SHOP_INSTANCE", "payments")})

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


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Payments).serve_forever()
