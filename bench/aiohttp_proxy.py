"""The obvious way to write a proxy in Python: an aiohttp server that calls an aiohttp client.

Not a straw man: uvloop, one shared session, keep-alive on both sides. It shows what a task for each request and two
general-purpose libraries cost. Run as ``python -m bench.aiohttp_proxy PORT UPSTREAM_PORT…``.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

import aiohttp
import uvloop
from aiohttp import web

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


async def _serve(port: int, upstreams: list[int]) -> None:
    turn = itertools.cycle(upstreams)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3600)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def forward(request: web.BaseRequest) -> web.Response:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
            url = f"http://127.0.0.1:{next(turn)}{request.raw_path}"
            body = request.content if request.can_read_body else None
            async with session.request(request.method, url, headers=headers, data=body) as response:
                kept = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP}
                return web.Response(status=response.status, headers=kept, body=await response.read())

        server = web.Server(forward, keepalive_timeout=3600, access_log=None)
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=4096)
        await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
