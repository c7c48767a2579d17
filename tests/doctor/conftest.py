"""A sound house for each test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from aiohttp import web as http

from tests.doctor.house import FakeHomelab, repository
from tests.e2e.rack.rack import Rack


@pytest.fixture
async def house() -> AsyncIterator[FakeHomelab]:
    """Two hosts, on a loopback network that no other test process of this machine has."""
    process = os.getpid()
    prefix = f"127.{200 + process // 200 % 50}.{process % 200}"
    houses: list[FakeHomelab] = []
    runner = http.AppRunner(repository(houses), access_log=None)
    await runner.setup()
    await http.TCPSite(runner, "127.0.0.1", 0).start()
    async with Rack(["pve1", "pve2"]) as rack:
        port = runner.addresses[0][1]
        houses.append(FakeHomelab(rack, prefix, f"http://127.0.0.1:{port}/charts"))
        yield houses[0]
        houses[0].close()
        # The servers have yet to notice that their last clients went away.
        for _ in range(50):
            await asyncio.sleep(0)
    await runner.cleanup()
