"""The front of the shop, with aiohttp: every page is made of one call to another service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from sidecar.demo.shop.moods import Moods

SESSION = web.AppKey("session", ClientSession)
moods = Moods()
routes = web.RouteTableDef()


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    return web.json_response({"status": "up"})


@routes.get("/orders/{number}")
async def order(request: web.Request) -> web.Response:
    return await page(request, f"http://orders/orders/{request.match_info['number']}")


@routes.get("/catalog/{number}")
async def article(request: web.Request) -> web.Response:
    return await page(request, f"http://catalog/articles/{request.match_info['number']}")


async def page(request: web.Request, url: str) -> web.Response:
    fate = moods.next()
    await asyncio.sleep(fate.delay)
    if fate.fails:
        return web.json_response({"error": "the front is out of order"}, status=500)
    # The trace is all that is passed on; deadline and retries follow from it.
    trace = {name: value for name, value in request.headers.items() if name.lower() == "traceparent"}
    try:
        async with request.app[SESSION].get(url, headers=trace) as response:
            return web.json_response({"page": await response.json()}, status=response.status)
    except (ClientError, TimeoutError, ValueError) as error:
        return web.json_response({"error": f"{url}: {error}"}, status=502)


async def session(app: web.Application) -> AsyncIterator[None]:
    # trust_env: the proxy of HTTP_PROXY, which aiohttp heeds only when asked to.
    async with ClientSession(trust_env=True, timeout=ClientTimeout(10)) as app[SESSION]:
        yield


def main() -> None:
    app = web.Application()
    app.add_routes(routes)
    app.cleanup_ctx.append(session)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, access_log=None, shutdown_timeout=1)


if __name__ == "__main__":
    main()
