"""The front of the shop where aiohttp is not installed: the same pages as ``web`` makes, by WSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.demo.shop import wsgi

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment


def serve(environ: WSGIEnvironment) -> wsgi.Answer:
    _, what, number = (environ["PATH_INFO"] + "//").split("/")[:3]
    url = f"http://orders/orders/{number}" if what == "orders" else f"http://catalog/articles/{number}"
    status, document = wsgi.call(url, environ)
    return status, {"page": document}


if __name__ == "__main__":
    wsgi.run(serve)
