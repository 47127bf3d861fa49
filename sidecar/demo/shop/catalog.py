"""The catalog where Node is not installed: the same answers as ``catalog.js`` gives, by WSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.demo.shop import wsgi

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment


def serve(environ: WSGIEnvironment) -> wsgi.Answer:
    return 200, {"article": environ["PATH_INFO"].rpartition("/")[2], "price": "9.90"}


if __name__ == "__main__":
    wsgi.run(serve)
