"""Bootstraps etcd on the first control plane: empty, or from a snapshot (``restore.py``).

The Talos provider's Bootstrap resource fails if the cluster is already bootstrapped, and it cannot
be imported (tried with pulumiverse-talos 0.8.1). So no ``up`` could continue a run that was stopped
between the call and the write of the state. This resource accepts "already exists": only nodes of
this cluster accept the client certificate, so etcd has data of this cluster.

Talos answers before etcd starts, and forgets the request if the node reboots before etcd has data,
for example while it pulls etcd's image. So this resource waits until etcd on the node is healthy,
and sends the request again after a reboot.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from backup.etcd_archive import Archive, ArchiveError
from clients.talos import machine_api, protobuf, queries
from clients.talos.errors import ALREADY_EXISTS, TalosError
from clients.tls import ClientCredentials, context_of
from clients.wait import NotYet, wait_until
from lifecycle.operations import TIME_SERVER_FIX, Progress
from lifecycle.provider import Provider, Resource, secret_credentials
from lifecycle.restore import SETTING, Restore

BOOTSTRAP_TIMEOUT_S = 900
"""Seconds that a node has to apply its machine config, pull etcd's image and start etcd."""
UPLOAD_SILENCE_TIMEOUT_S = 120
"""Seconds that a node may send nothing while it receives a snapshot."""
PROCEDURE = "/machine.MachineService/Bootstrap"
_RECOVER_PROCEDURE = "/machine.MachineService/EtcdRecover"
_RECOVER_ETCD = b"\x08\x01"
"""A serialized ``BootstrapRequest`` with ``recover_etcd: true`` (siderolabs/talos
api/machine/machine.proto)."""
_TIME = "time is not in sync"
"""Part of the error of a node whose clock is not synchronized."""
_CHUNK_SIZE = 32 * 1024
"""Bytes of a snapshot in one message, the same as talosctl sends."""
_BYTES = 2
"""Number of the field with the bytes in a message of the stream (Talos' ``common.Data``)."""


@dataclass(frozen=True, kw_only=True)
class BootstrapArgs:
    """Arguments of ``Bootstrap``."""

    node: str
    """Address of the first control plane."""
    credentials: pulumi.Output[ClientCredentials]
    """A Talos client; becomes a secret."""
    restore: Restore | None = None
    """The snapshot with which etcd starts; ``None`` for an empty etcd."""

    def inputs(self) -> dict[str, Any]:
        """The inputs of the resource."""
        inputs = {"node": self.node, **secret_credentials(self.credentials)}
        if self.restore:
            inputs |= {
                "restore_from": self.restore.setting,
                "archive": str(self.restore.path),
                "age_key": pulumi.Output.secret(self.restore.key),
            }
        return inputs


@dataclass(frozen=True, kw_only=True)
class BootstrapInputs(ClientCredentials):
    """What the provider gets: a Talos client, the node and the snapshot file."""

    node: str
    restore_from: str | None = None
    """Path of the snapshot file as in the stack file; ``None`` for an empty etcd."""
    archive: str = ""
    """Absolute path of the snapshot file."""
    age_key: str = ""
    """The age key that decrypts it."""


class Bootstrap(Resource[BootstrapArgs]):
    """The bootstrapped etcd of a cluster. It is never bootstrapped again."""


class RestoreRefusedError(Exception):
    """The cluster cannot be restored from its snapshot: the setting, the reason and the fix."""


class BootstrapProvider(Provider[BootstrapInputs]):
    """create: bootstrap etcd; update and delete: nothing."""

    name = "Bootstrap"
    inputs = BootstrapInputs
    id_input = "node"
    compared = ()
    stored = ("node",)

    def on_create(self, inputs: BootstrapInputs) -> Mapping[str, Any]:
        """Bootstrap etcd. Raises ``TimeoutError`` or ``RestoreRefusedError``."""
        snapshot = _read_snapshot(inputs) if inputs.restore_from else None
        bootstrap(inputs, snapshot=snapshot)
        return {"restored_from": inputs.restore_from} if inputs.restore_from else {}


def bootstrap(
    inputs: BootstrapInputs, limit: float = BOOTSTRAP_TIMEOUT_S, snapshot: bytes | None = None
) -> None:
    """Bootstrap etcd, from ``snapshot`` if given, and wait until etcd is healthy on the node.

    Waits for at most ``limit`` seconds. Raises ``TimeoutError`` with the last error.
    """
    node = inputs.node

    def timeout_error(last_error: str) -> TimeoutError:
        return TimeoutError(
            f"etcd was not bootstrapped on {node} in {limit:.0f} s: {last_error}. Check the node "
            f"with `talosctl --nodes {node} dmesg` or on the VM's console in Proxmox, then run "
            "`up` again: it continues from here."
        )

    attempts = _Attempts(node, context_of(inputs), snapshot)
    wait_until(attempts.require_etcd, limit, timeout_error, Progress(f"etcd on {node}"))


class _Attempts:
    """Attempts to bootstrap etcd on one node. Each boot of the node gets one request, because a
    further request would make Talos pull etcd's image from the start."""

    def __init__(self, node: str, context: ssl.SSLContext, snapshot: bytes | None) -> None:
        self._node, self._context, self._snapshot = node, context, snapshot
        self._boot = ""
        """Id of the boot in which the node accepted the request."""

    def require_etcd(self) -> None:
        """Send the request if needed. Raises ``NotYet`` until etcd is healthy."""
        try:
            etcd = queries.services(self._node, self._context).get("etcd")
            if etcd is not None and etcd.is_healthy:
                return
            boot = queries.boot_id(self._node, self._context)
            if boot != self._boot or (etcd is not None and etcd.state == "Failed"):
                self._request()
                self._boot = boot
        except TalosError as error:
            reason = error.detail
            raise NotYet(f"{reason}; {TIME_SERVER_FIX}" if _TIME in reason else reason) from None
        raise NotYet(f"etcd is not healthy yet: {etcd}")

    def _request(self) -> None:
        try:
            _call_bootstrap(self._node, self._context, self._snapshot)
        except TalosError as error:
            if error.status != ALREADY_EXISTS:
                raise


def _call_bootstrap(node: str, context: ssl.SSLContext, snapshot: bytes | None) -> None:
    if snapshot is None:
        machine_api.call(node, context, PROCEDURE)
        return
    # Uploaded in each attempt: a node accepts a snapshot before its disks are ready and loses it.
    machine_api.stream(
        node,
        context,
        _RECOVER_PROCEDURE,
        _messages(snapshot),
        limit=UPLOAD_SILENCE_TIMEOUT_S,
    )
    machine_api.call(node, context, PROCEDURE, _RECOVER_ETCD)


def _messages(snapshot: bytes) -> Iterator[bytes]:
    for start in range(0, len(snapshot), _CHUNK_SIZE):
        yield protobuf.field(_BYTES, snapshot[start : start + _CHUNK_SIZE])


def _read_snapshot(inputs: BootstrapInputs) -> bytes:
    """The etcd snapshot in the archive.

    Raises ``RestoreRefusedError`` if the archive cannot be read, or if its machine secrets are not
    those of the cluster.
    """
    setting = f"{SETTING} = {inputs.restore_from}"
    try:
        archive = Archive.opened(Path(inputs.archive).read_bytes(), inputs.age_key)
    except (OSError, ArchiveError) as error:
        reason = f"it {error}" if isinstance(error, ArchiveError) else "the file cannot be read"
        raise RestoreRefusedError(
            f"{setting}: {reason}. etcd is not bootstrapped yet. Restore the file and run `up` "
            "again, or remove the setting: then etcd starts empty."
        ) from None
    if archive.authority != inputs.ca_certificate:
        raise RestoreRefusedError(
            f"{setting}: the nodes were created with other machine secrets than those in this "
            "file, so they cannot read the snapshot. Run `make down`, then `make up`."
        )
    return archive.etcd
