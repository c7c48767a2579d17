"""Serves the page, and the rack's state as JSON for it, on loopback.

Everything that the page needs comes from here: no other address is asked for anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler

from .view import view

if TYPE_CHECKING:
    from ..rack import Rack

_FILES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """The page of one rack."""

    def __init__(self, rack: Rack) -> None:
        self.url = ""
        """Where it is, once it is served."""
        self._rack = rack
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int) -> int:
        """Listen, and return the port."""
        app = web.Application(middlewares=[self._guard])
        for path, name in _FILES.items():
            app.router.add_get(path, _file(name))
        app.router.add_get("/state", self._state)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port).start()
        port = int(self._runner.addresses[0][1])
        self.url = f"http://{address}:{port}/"
        return port

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner:
            await self._runner.cleanup()

    async def _state(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(view(self._rack))

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer only who asks for this address: a site whose own name leads here reads nothing."""
        if f"http://{request.host}/" != self.url:
            raise web.HTTPMisdirectedRequest
        response = await handler(request)
        response.headers.update(_HEADERS)
        return response


def _file(name: str) -> Handler:
    path = Path(__file__).with_name(name)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return answer
