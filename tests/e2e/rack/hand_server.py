"""The hand of a test in a rack that runs in another process: faults to order, a diary to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from aiohttp import web

from .talos.hand import Hand


class HandServer:
    """``GET /`` answers the diary; ``POST /`` sets the fields of the hand that it names."""

    def __init__(self, hand: Callable[[], Hand]) -> None:
        self._hand = hand
        self.url = ""
        """Where it listens, once it does."""
        app = web.Application()
        app.router.add_get("/", self._read)
        app.router.add_post("/", self._order)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self, address: str) -> None:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, address, 0).start()
        self.url = f"http://{address}:{self._runner.addresses[0][1]}/"

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()

    async def _read(self, _: web.Request) -> web.Response:
        return web.json_response(self._hand().diary)

    async def _order(self, request: web.Request) -> web.Response:
        hand = self._hand()
        kinds = {field.name: type(getattr(hand, field.name)) for field in dataclasses.fields(hand)}
        for name, value in (await request.json()).items():
            setattr(hand, name, kinds[name](value))
        return web.json_response(None)
