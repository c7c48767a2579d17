"""The rack as a program of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from settings.project import PROJECT_FOLDER
from tests.e2e.lab import CLUSTER
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


PARENT = """
import signal
from tests.e2e.lab import rack
with rack("pve1") as endpoints:
    print(endpoints["ca_file"], flush=True)
    signal.pause()
"""


def test_it_ends_with_whoever_started_it_even_if_that_is_killed(tmp_path: Path) -> None:
    for name in CLUSTER:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=PROJECT_FOLDER,
        env=os.environ | {"PATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        file = Path(parent.stdout.readline().strip())
        assert file.exists()
        parent.kill()
        # The rack has the same standard error, which ends with the last of them.
        _, said = parent.communicate(timeout=60)
        assert said == ""
        assert not file.parent.exists()
    except subprocess.TimeoutExpired:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
        raise
