"""The program's own upgrade of Talos, against a simulated machine."""

from __future__ import annotations

import asyncio
import re

import pytest

from clients.talos import upgrade as module
from clients.talos.errors import TalosError
from clients.talos.upgrade import TalosUpgrade
from clients.tls import context_of
from tests.e2e.rack.faults import Fault, Kind
from tests.e2e.rack.rack import Rack
from tests.e2e.rack.talos.machine import Machine

from .machine_configs import VIP, ClusterSecrets
from .proxmox_client import ProxmoxClient
from .talos_client import Apply
from .test_bootstrap import inputs

ADDRESS = "127.77.3.11"


@pytest.fixture
async def machine(
    rack: Rack, proxmox: ProxmoxClient, secrets: ClusterSecrets, apply: Apply
) -> Machine:
    """A control plane with Talos v1.13.9."""
    await proxmox.boot_machine(101, ADDRESS)
    await apply(ADDRESS, secrets.config("controlplane", "cp1", vip=VIP))
    return rack.machines[ADDRESS]


@pytest.fixture
def image(machine: Machine) -> str:
    """An installer image of a newer Talos."""
    return f"127.0.0.1/nocloud-installer/{machine.schematic}:v1.13.10"


@pytest.fixture
def upgrade(secrets: ClusterSecrets, image: str, monkeypatch: pytest.MonkeyPatch) -> TalosUpgrade:
    """An upgrade to that image, which gives up a pull after a second without progress."""
    monkeypatch.setattr(module, "PULL_SILENCE_TIMEOUT_S", 1)
    return TalosUpgrade(ADDRESS, context_of(inputs(secrets, ADDRESS)), image)


async def test_it_pulls_installs_and_reboots(
    rack: Rack, machine: Machine, image: str, upgrade: TalosUpgrade
) -> None:
    await asyncio.to_thread(upgrade.pull)
    await asyncio.to_thread(upgrade.install)
    assert machine.installation.pending_installer == image
    assert rack.requests.of("talos", "Reboot") == []
    await asyncio.to_thread(upgrade.reboot)
    async with asyncio.timeout(10):
        while rack.machines.get(ADDRESS) in (None, machine):
            await asyncio.sleep(0.05)
    assert rack.machines[ADDRESS].version == "v1.13.10"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("missing", "error pulling image: failed to pull image .*: not found"),
        ("unreachable", "^failed to pull image .*: no such host$"),
        ("stalled", "the pull made no progress for 1 s; the log of the node has no error"),
    ],
)
@pytest.mark.parametrize("version", ["v1.13.9", "v1.12.7"])
async def test_a_pull_that_fails_ends_with_the_reason_of_talos(
    rack: Rack,
    machine: Machine,
    image: str,
    upgrade: TalosUpgrade,
    fault: str,
    reason: str,
    version: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Machine, "version", version)
    monkeypatch.setattr(module, "INSTALL_TIMEOUT_S", 0)
    machine.write_log(f'retrying error: failed to pull image "{image}": an earlier reason')
    rack.talos.hand.image_fault = fault
    with pytest.raises(TalosError) as raised:
        await asyncio.to_thread(upgrade.pull)
    if version == "v1.12.7":
        reason = reason.replace("the pull made no progress for 1 s", "no answer in time")
    assert re.search(reason, raised.value.detail)
    assert rack.requests.of("talos", "Upgrade") == []


async def test_a_silent_pull_of_an_old_talos_goes_on_without_an_error_in_the_log(
    rack: Rack, machine: Machine, upgrade: TalosUpgrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "version", "v1.12.7")
    rack.talos.hand.image_fault = "stalled"

    async def recover() -> None:
        while len(rack.requests.of("talos", "ImagePull")) < 2:
            await asyncio.sleep(0.05)
        rack.talos.hand.image_fault = ""

    await asyncio.gather(asyncio.to_thread(upgrade.pull), recover())
    assert len(rack.requests.of("talos", "ImagePull")) == 2


async def test_an_installation_that_is_cut_is_no_success(
    rack: Rack, machine: Machine, upgrade: TalosUpgrade
) -> None:
    rack.faults.append(Fault(api="talos", method="Upgrade", kind=Kind.CUT))
    with pytest.raises(TalosError, match="does not answer"):
        await asyncio.to_thread(upgrade.install)
    assert rack.requests.of("talos", "Reboot") == []


async def test_an_old_talos_installs_and_reboots_in_one_call(
    rack: Rack,
    machine: Machine,
    image: str,
    upgrade: TalosUpgrade,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Machine, "version", "v1.12.7")
    await asyncio.to_thread(upgrade.install_and_reboot)
    assert machine.installation.pending_installer == image
