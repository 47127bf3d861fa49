"""An application as somebody might write it, for ``sidecar run -- python application.py``. It knows no mesh: it listens
on ``PORT``, and calls others through the proxy that its environment names.

``/`` answers ``ok``. ``/call/PATH`` asks orders for ``/PATH`` and passes the answer on. When it is told to end it
finishes what runs, asks orders for ``/bye``, says on stderr what came of that, and ends with exit code 0.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def call(path: str) -> bytes:
    with urllib.request.urlopen(f"http://orders{path}", timeout=30) as response:
        body: bytes = response.read()
        return body


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = call(self.path.removeprefix("/call")) if self.path.startswith("/call/") else b"ok"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told.set())
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("application: serving", os.getpid(), file=sys.stderr, flush=True)
    told.wait()
    print("application: told to end", file=sys.stderr, flush=True)
    said = call("/bye")
    print(f"application: orders said {said.decode()!r}", file=sys.stderr, flush=True)


main()
