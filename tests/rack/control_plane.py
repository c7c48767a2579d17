"""The programs of a real control plane, and a client of the cluster that they make.

They are looked for in the folder that RACK_KUBERNETES names, or on PATH and where `make e2e-tools`
puts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.e2e.lab import SEARCHED
from tests.e2e.rack.kubernetes.client import KubernetesClient
from tests.e2e.rack.kubernetes.programs import Programs, ProgramsMissingError

from .machine_configs import VIP, ClusterSecrets

NODES = "/api/v1/nodes"
FOLDERS = os.environ.get("RACK_KUBERNETES") or SEARCHED
PATIENCE = 30


def programs() -> Programs | None:
    """Find the programs, if they are all there."""
    with contextlib.suppress(ProgramsMissingError):
        return Programs.find(FOLDERS)
    return None


PROGRAMS = programs()


@contextlib.asynccontextmanager
async def administrator(secrets: ClusterSecrets, folder: Path) -> AsyncIterator[KubernetesClient]:
    """A client of the cluster with these secrets, once its API is ready."""
    authority, chain = folder / "ca.crt", folder / "admin.pem"
    authority.write_bytes(secrets.cluster_ca.pem)
    admin = secrets.cluster_ca.issue("admin", organization="system:masters")
    chain.write_bytes(admin.certificate + admin.key)
    client = KubernetesClient(f"https://{VIP}:6443", authority, chain)
    async with contextlib.aclosing(client):
        await until(client.is_ready)
        yield client


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # another program has no event for us
            await asyncio.sleep(0.05)


def ready(client: KubernetesClient, **expected: str) -> Callable[[], Awaitable[bool]]:
    """Make the condition that the nodes report as expected."""

    async def condition() -> bool:
        return {
            node["metadata"]["name"]: c["status"]
            for node in await client.list(NODES)
            for c in node["status"].get("conditions", [])
            if c["type"] == "Ready"
        } == expected

    return condition
