"""What the services share that are plain WSGI applications: the server of the standard library, and a call to others."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from sidecar.demo.shop.moods import Moods

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Answer = tuple[int, dict[str, Any]]
Serve = Callable[["WSGIEnvironment"], Answer]
TIMEOUT = 10.0


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that has given up on a slow answer is gone, which is no fault of ours."""


class Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """The mesh's metrics say what happened."""


def run(serve: Serve) -> None:
    """Answers ``GET /health``, and all else as ``serve`` says, until the process is ended."""
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.set_app(application(serve, Moods()))
    server.serve_forever()


def application(serve: Serve, moods: Moods) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, document = 200, {"status": "up"}
        if environ["PATH_INFO"] != "/health":
            fate = moods.next()
            threading.Event().wait(fate.delay)
            status, document = (500, {"error": "out of order"}) if fate.fails else serve(environ)
        body = json.dumps(document).encode() + b"\n"
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        start_response(f"{status} {'OK' if status == 200 else 'Failed'}", headers)
        return [body]

    return app


def call(url: str, environ: WSGIEnvironment) -> Answer:
    """Status and document of ``GET url``; the trace is all that is passed on."""
    trace = {"traceparent": environ["HTTP_TRACEPARENT"]} if "HTTP_TRACEPARENT" in environ else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=trace), timeout=TIMEOUT) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {"error": f"{url}: {error}"}
    except OSError as error:
        return 502, {"error": f"{url}: {error}"}
