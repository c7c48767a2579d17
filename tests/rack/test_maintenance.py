"""Whether a simulated machine waits for its config: asked as the talos provider asks."""

from __future__ import annotations

import asyncio

from clients.talos import machine_api
from lifecycle.operations import node_replacement

from .machine_configs import VIP, ClusterSecrets
from .proxmox_client import ProxmoxClient
from .talos_client import Apply

MACHINE, NOBODY = "127.77.5.11", "127.77.5.99"


async def test_a_machine_waits_until_it_has_its_config(
    proxmox: ProxmoxClient, secrets: ClusterSecrets, apply: Apply
) -> None:
    await proxmox.boot_machine(101, MACHINE)
    assert await asyncio.to_thread(machine_api.is_unconfigured, MACHINE) is True
    await apply(MACHINE, secrets.config("controlplane", "cp1", vip=VIP))
    assert await asyncio.to_thread(machine_api.is_unconfigured, MACHINE) is False
    assert await asyncio.to_thread(machine_api.is_unconfigured, NOBODY) is None


async def test_one_that_has_just_been_switched_on_is_waited_for(
    proxmox: ProxmoxClient,
) -> None:
    assert await asyncio.to_thread(node_replacement.is_in_maintenance, NOBODY, 0) is False
    waiting = asyncio.create_task(
        asyncio.to_thread(node_replacement.is_in_maintenance, MACHINE, 30)
    )
    await proxmox.boot_machine(101, MACHINE)
    assert await waiting is True
