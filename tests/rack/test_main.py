"""The rack as a program of its own."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.e2e.rack.proxmox.model import VERSION

from .proxmox_client import ProxmoxClient


async def test_it_prints_its_endpoints_and_runs_until_it_is_told_to_stop() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.rack", "--host", "pve1", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    endpoints = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
    client = ProxmoxClient(endpoints["endpoint"], endpoints["api_token"], endpoints["ca_file"])
    assert await client.call("GET", "/version") == VERSION
    assert [node["node"] for node in await client.call("GET", "/nodes")] == ["pve1"]
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
