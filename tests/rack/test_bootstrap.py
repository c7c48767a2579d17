"""The program's own Bootstrap, against a simulated machine: TLS with Ed25519, gRPC, refusals."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from clients import wait
from clients.talos.errors import TalosError
from clients.talos.machine_api import MachineApi, call
from clients.tls import context_of
from lifecycle import bootstrap as module
from lifecycle import operations
from lifecycle.bootstrap import BootstrapInputs, BootstrapProvider, bootstrap
from lifecycle.operations.etcd import Etcd
from lifecycle.provider import parse
from tests.e2e.rack.rack import Rack

from .machine_configs import SELECTOR, VIP, ClusterSecrets
from .proxmox_client import ProxmoxClient
from .talos_client import Apply

CONTROL_PLANE, WORKER = "127.77.3.11", "127.77.3.21"


def props(secrets: ClusterSecrets, node: str) -> dict[str, Any]:
    """What the resource hands its provider, the key under the label that Talos gives it."""
    pair = secrets.admin
    key = pair.key.replace(b"BEGIN PRIVATE KEY", b"BEGIN ED25519 PRIVATE KEY").replace(
        b"END PRIVATE KEY", b"END ED25519 PRIVATE KEY"
    )
    blobs = {
        "ca_certificate": secrets.machine_ca.pem,
        "client_certificate": pair.certificate,
        "client_key": key,
    }
    return {"node": node} | {name: base64.b64encode(blob).decode() for name, blob in blobs.items()}


def inputs(secrets: ClusterSecrets, node: str) -> BootstrapInputs:
    """The same, as the provider reads it."""
    return parse(BootstrapInputs, props(secrets, node))


@pytest.fixture
async def machines(proxmox: ProxmoxClient, secrets: ClusterSecrets, apply: Apply) -> None:
    """A control plane and a worker, configured but not bootstrapped."""
    await proxmox.boot_machine(101, CONTROL_PLANE)
    await proxmox.boot_machine(201, WORKER)
    await apply(WORKER, secrets.config("worker", "worker1", selector=SELECTOR))
    await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=VIP))


async def test_it_bootstraps_once_and_is_done_if_etcd_is_healthy(
    rack: Rack, secrets: ClusterSecrets, machines: None
) -> None:
    machine = rack.machines[CONTROL_PLANE]
    assert not machine.installation.has_etcd_data
    for _ in range(2):
        result = await asyncio.to_thread(BootstrapProvider().create, props(secrets, CONTROL_PLANE))
        # Nothing but the node is kept: what it was asked with stays among the secret inputs.
        assert result.outs == {"node": CONTROL_PLANE}
    assert machine.installation.has_etcd_data
    assert len(rack.requests.of("talos", "Bootstrap")) == 1


def instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch, *turns: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Run one of the turns at each pause of a wait; fails if the wait has more pauses."""
    loop = asyncio.get_running_loop()
    rest = list(turns)

    def pause(seconds: float) -> None:
        assert seconds == wait.INTERVAL
        asyncio.run_coroutine_threadsafe(rest.pop(0)(), loop).result(30)

    monkeypatch.setattr("clients.wait.time.sleep", pause)


async def restart(proxmox: ProxmoxClient) -> None:
    """Switch the control plane's VM off and on."""
    await proxmox.vm(101, "POST", "status/stop")
    await proxmox.vm(101, "POST", "status/start")


async def nothing() -> None:
    """Let two seconds pass."""


async def test_it_asks_again_if_the_machine_reboots_before_etcd_has_data(
    rack: Rack,
    secrets: ClusterSecrets,
    proxmox: ProxmoxClient,
    machines: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = rack.talos.hand
    hand.etcd_pull_s = 3600

    async def reset() -> None:
        await restart(proxmox)
        hand.etcd_pull_s = 0

    instead_of_waiting(monkeypatch, nothing, nothing, reset, nothing)
    await asyncio.to_thread(bootstrap, inputs(secrets, CONTROL_PLANE))
    assert rack.machines[CONTROL_PLANE].installation.has_etcd_data
    # One for each boot: a further request would let Talos pull etcd's image from the start.
    assert len(rack.requests.of("talos", "Bootstrap")) == 2


async def test_a_restore_that_is_asked_for_again_brings_its_snapshot_again(
    rack: Rack,
    secrets: ClusterSecrets,
    proxmox: ProxmoxClient,
    machines: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand = rack.talos.hand
    hand.etcd_pull_s = 3600

    async def reset() -> None:
        await restart(proxmox)
        rack.machines[CONTROL_PLANE].installation.recovery = b""
        hand.etcd_pull_s = 0

    instead_of_waiting(monkeypatch, reset, nothing)
    await asyncio.to_thread(bootstrap, inputs(secrets, CONTROL_PLANE), 60, b"a snapshot")
    machine = rack.machines[CONTROL_PLANE]
    assert machine.config is not None
    assert rack.talos.cluster_of(machine.config).snapshot == b"a snapshot"


async def test_it_waits_for_runtime_and_clock_and_names_what_is_missing(
    rack: Rack,
    secrets: ClusterSecrets,
    machines: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hand = rack.talos.hand
    monkeypatch.setattr(operations, "PROGRESS_S", 0)
    hand.runtime_s, hand.unsynchronized = 3600, {CONTROL_PLANE}

    async def start_runtime() -> None:
        hand.runtime_s = 0

    async def synchronize() -> None:
        hand.unsynchronized = set()

    instead_of_waiting(monkeypatch, start_runtime, nothing, synchronize, nothing)
    await asyncio.to_thread(bootstrap, inputs(secrets, CONTROL_PLANE))
    runtime, clock, _ = capsys.readouterr().out.splitlines()
    assert runtime == (f"etcd on {CONTROL_PLANE}: bootstrap is not available yet. Still waiting.")
    assert clock.startswith(f"etcd on {CONTROL_PLANE}: time is not in sync yet; no time server")
    assert "`cluster.ntp`" in clock


async def test_what_etcd_waits_for_is_named_when_the_time_is_up(
    rack: Rack, secrets: ClusterSecrets, machines: None
) -> None:
    rack.talos.hand.etcd_pull_s = 3600
    reason = "etcd is not healthy yet: Preparing \\(Running pre state\\)"
    with pytest.raises(TimeoutError, match=f"not bootstrapped on {CONTROL_PLANE} .*: {reason}"):
        await asyncio.to_thread(bootstrap, inputs(secrets, CONTROL_PLANE), 0)


async def test_what_stands_in_the_way_is_said_when_the_time_is_up(
    secrets: ClusterSecrets, proxmox: ProxmoxClient, machines: None
) -> None:
    cases = [(WORKER, "only available on control plane nodes"), ("127.77.3.99", "does not answer")]
    await proxmox.boot_machine(102, "127.77.3.12")
    cases.append(("127.77.3.12", "has not applied its machine config yet"))
    for node, reason in cases:
        with pytest.raises(TimeoutError, match=f"not bootstrapped on {node} in 0 s: .*{reason}"):
            await asyncio.to_thread(bootstrap, inputs(secrets, node), 0)


async def test_it_waits_for_a_machine_that_is_not_there_yet(
    rack: Rack,
    secrets: ClusterSecrets,
    proxmox: ProxmoxClient,
    apply: Apply,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def boot() -> None:
        await proxmox.boot_machine(101, CONTROL_PLANE)
        await apply(CONTROL_PLANE, secrets.config("controlplane", "cp1", vip=VIP))

    instead_of_waiting(monkeypatch, boot, nothing)
    await asyncio.to_thread(bootstrap, inputs(secrets, CONTROL_PLANE))
    assert rack.machines[CONTROL_PLANE].installation.has_etcd_data


async def test_a_certificate_of_another_cluster_opens_nothing(
    secrets: ClusterSecrets, machines: None
) -> None:
    strange = inputs(ClusterSecrets(), CONTROL_PLANE)
    own = inputs(secrets, CONTROL_PLANE)
    context = context_of(replace(strange, ca_certificate=own.ca_certificate))
    with pytest.raises(TalosError, match="does not answer"):
        await asyncio.to_thread(call, CONTROL_PLANE, context, module.PROCEDURE)


def test_no_change_bootstraps_a_second_time() -> None:
    """A cluster whose first control plane moved must not begin anew beside the old one."""
    result = BootstrapProvider().diff("a", {"node": "127.0.0.1"}, {"node": "127.0.0.2"})
    assert not result.changes


async def test_a_snapshot_is_uploaded_whole_and_etcd_begins_with_it(
    rack: Rack, secrets: ClusterSecrets, machines: None
) -> None:
    # More than a connection takes in one go, and no multiple of a message.
    snapshot = bytes(range(256)) * 4000 + b"and a rest"
    for _ in range(2):
        await asyncio.to_thread(bootstrap, inputs(secrets, CONTROL_PLANE), 30, snapshot)
    machine = rack.machines[CONTROL_PLANE]
    assert machine.installation.recovery == snapshot
    assert machine.config is not None
    assert rack.talos.cluster_of(machine.config).snapshot == snapshot


async def test_a_machine_that_takes_no_snapshot_says_why(
    rack: Rack, secrets: ClusterSecrets, machines: None
) -> None:
    with pytest.raises(TimeoutError, match="etcd recover is only available on control plane"):
        await asyncio.to_thread(bootstrap, inputs(secrets, WORKER), 0, b"a snapshot" * 100_000)
    assert rack.requests.of("talos", "Bootstrap") == []


async def test_etcd_is_read_through_the_machine_api(
    rack: Rack, secrets: ClusterSecrets, machines: None
) -> None:
    own = inputs(secrets, CONTROL_PLANE)
    await asyncio.to_thread(bootstrap, own)
    etcd = Etcd(MachineApi(own), [CONTROL_PLANE])
    [member] = await asyncio.to_thread(etcd.members)
    assert (member.name, member.address) == ("cp1", CONTROL_PLANE)
    assert await asyncio.to_thread(etcd.find_faults, [member]) == {}
    rack.talos.hand.sick_etcd = {CONTROL_PLANE}
    assert await asyncio.to_thread(etcd.find_faults, [member]) == {"cp1": "etcdserver: no leader"}
