"""A fresh rack for each test."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rack.kubernetes import simulator
from tests.e2e.rack.rack import Rack
from tests.e2e.rack.talos.messages import talos

from .machine_configs import ClusterSecrets
from .proxmox_client import ProxmoxClient
from .talos_client import Apply, Connect, Connection, talos_client


@pytest.fixture(autouse=True)
def _one_rack_at_a_time() -> Iterator[None]:
    """Two racks cannot have the same addresses, whichever process they are in."""
    # The folder itself: a file for it would stay behind.
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-ins look often: a test waits for many of their steps, one after another."""
    monkeypatch.setattr(simulator, "_INTERVAL", 0.05)
    monkeypatch.setattr(simulator, "_REST", 0.5)


@pytest.fixture(autouse=True)
def _no_programs_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configurations of these tests are too small for talosctl, where it is installed."""
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest.fixture
async def rack() -> AsyncIterator[Rack]:
    """A rack with one host."""
    async with Rack(["pve"]) as rack:
        yield rack


@pytest.fixture
async def proxmox(rack: Rack) -> ProxmoxClient:
    """A client, and an image that machines can be made of."""
    client = ProxmoxClient.of(rack)
    await client.download_image()
    return client


@pytest.fixture
def secrets() -> ClusterSecrets:
    """The secrets of a cluster."""
    return ClusterSecrets()


@pytest.fixture
def connect(secrets: ClusterSecrets) -> Iterator[Connect]:
    """Connect to a machine, by default with an administrator's certificate."""
    # Not pytest's own folder: its path is too long for a unix socket.
    with tempfile.TemporaryDirectory() as folder:

        def connect(address: str, *, insecure: bool = False) -> Connection:
            return talos_client(address, Path(folder), None if insecure else secrets.admin)

        yield connect


@pytest.fixture
async def apply(
    connect: Connect,
) -> Apply:
    """Configure a machine that is in maintenance mode."""

    async def apply(address: str, data: bytes) -> Any:
        async with connect(address, insecure=True) as client:
            request = talos.ApplyConfigurationRequest(data=data, mode=1)
            return await client.call("ApplyConfiguration", request, node=address)

    return apply
