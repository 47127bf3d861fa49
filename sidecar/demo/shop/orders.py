"""Orders, a plain WSGI application: every order asks for a payment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.demo.shop import wsgi

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment


def serve(environ: WSGIEnvironment) -> wsgi.Answer:
    number = environ["PATH_INFO"].rpartition("/")[2]
    status, payment = wsgi.call(f"http://payments/payments/{number}", environ)
    return status, {"order": number, "payment": payment}


if __name__ == "__main__":
    wsgi.run(serve)
