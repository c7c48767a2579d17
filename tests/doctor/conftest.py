"""A correct homelab for each test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from aiohttp import web as http

from tests.doctor.homelab import FakeHomelab, repository
from tests.e2e.rack.rack import Rack


@pytest.fixture
async def homelab() -> AsyncIterator[FakeHomelab]:
    """A homelab of two hosts, on a loopback network that no other test process uses."""
    process = os.getpid()
    prefix = f"127.{200 + process // 200 % 50}.{process % 200}"
    homelabs: list[FakeHomelab] = []
    runner = http.AppRunner(repository(homelabs), access_log=None)
    await runner.setup()
    await http.TCPSite(runner, "127.0.0.1", 0).start()
    async with Rack(["pve1", "pve2"]) as rack:
        port = runner.addresses[0][1]
        homelabs.append(FakeHomelab(rack, prefix, f"http://127.0.0.1:{port}/charts"))
        yield homelabs[0]
        homelabs[0].close()
        # Let the servers handle the closed connections of their last clients.
        for _ in range(50):
            await asyncio.sleep(0)
    await runner.cleanup()
