"""The bootstrap of etcd: once in a cluster's life, and safe to ask for again.

The talos provider's own resource takes "already exists" for a failure and asks until its time is
up. A run that was cut off between the call and its record, or an answer that was lost, then leaves
a castle that no ``up`` can go on with, and nothing can import the resource (facts/end-to-end.md 9).
Here it is what was wanted: only the machines of this cluster accept the certificate that asks.

etcd begins empty, or with the snapshot that the castle is restored from (``restore.py``).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from backup.etcd_archive import Archive, ArchiveError
from clients.talos import machine_api, protobuf
from clients.tls import context_of, inputs_of
from clients.wait import NotYet, wait_until
from lifecycle.provider import MODULE, Provider
from lifecycle.restore import SETTING, Restore, bootstrap_inputs

LIMIT = 600
"""Seconds that a machine has to take up its config and listen."""
UPLOAD_SILENCE = 120
"""Seconds for which a machine may be silent while it takes a snapshot."""
PROCEDURE = "/machine.MachineService/Bootstrap"
RECOVER = "/machine.MachineService/EtcdRecover"
_RECOVER_ETCD = b"\x08\x01"
"""A BootstrapRequest with recover_etcd (siderolabs/talos api/machine/machine.proto)."""
_PART = 32 * 1024
"""Bytes of a snapshot in one message, as many as talosctl sends."""
_BYTES = 2
"""Where a message of a stream has its bytes: common.Data."""


class Bootstrap(dynamic.Resource, module=MODULE, name="Bootstrap"):
    """The etcd of a cluster, begun on its first control plane."""

    def __init__(
        self,
        resource_name: str,
        *,
        node: str,
        credentials: pulumi.Output[Any],
        restore: Restore | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Bootstrap the machine at the address ``node``.

        ``credentials`` are a ``credentials.Client`` of the cluster: they become a secret.
        """
        super().__init__(
            BootstrapProvider(),
            resource_name,
            {
                "node": node,
                **inputs_of(credentials),
                **bootstrap_inputs(restore),
            },
            opts,
        )


class RestoreRefusedError(Exception):
    """A castle is not restored: the setting, why, and the fix."""


class BootstrapProvider(Provider):
    """Bootstraps on create, and never again, whatever changes: a cluster is bootstrapped once."""

    name = "Bootstrap"
    id_input = "node"
    compared = ()
    kept = ("node",)

    def on_create(self, props: dict[str, Any]) -> Mapping[str, Any]:
        """Bootstrap etcd; raises the last error if it does not succeed in time."""
        origin = props.get("restore_from")
        bootstrap(props, snapshot=_snapshot(props) if origin else None)
        return {"restored_from": origin} if origin else {}


def bootstrap(
    props: Mapping[str, Any], limit: float = LIMIT, snapshot: bytes | None = None
) -> None:
    """Ask again and again, for at most ``limit`` seconds.

    With a ``snapshot`` etcd begins with what is in it. Raises ``TimeoutError`` with the last thing
    that stood in the way.
    """
    context, node = context_of(props), props["node"]

    def look() -> None:
        try:
            _once(node, context, snapshot)
        except machine_api.TalosCallError as refusal:
            if refusal.status != machine_api.ALREADY_EXISTS:
                raise NotYet(str(refusal)) from None

    def told(missing: str) -> TimeoutError:
        return TimeoutError(
            f"{node} was not bootstrapped in {limit:.0f} s: {missing}. Look at it with `talosctl "
            f"--nodes {node} dmesg` or on its console in Proxmox, then run `up` again: it goes on "
            "from here."
        )

    wait_until(look, limit, told)


def _once(node: str, context: ssl.SSLContext, snapshot: bytes | None) -> None:
    if snapshot is None:
        machine_api.call(node, context, PROCEDURE)
        return
    # Each time anew: before its disks are ready a machine takes it, and forgets it.
    machine_api.stream(node, context, RECOVER, _parts(snapshot), limit=UPLOAD_SILENCE)
    machine_api.call(node, context, PROCEDURE, _RECOVER_ETCD)


def _parts(snapshot: bytes) -> Iterator[bytes]:
    for place in range(0, len(snapshot), _PART):
        yield protobuf.field(_BYTES, snapshot[place : place + _PART])


def _snapshot(props: Mapping[str, Any]) -> bytes:
    """The snapshot that the castle begins with, if its machine secrets are those of the castle."""
    shown = f"{SETTING} = {props['restore_from']}"
    try:
        archive = Archive.opened(Path(props["archive"]).read_bytes(), props["age_key"])
    except (OSError, ArchiveError) as error:
        reason = f"it {error}" if isinstance(error, ArchiveError) else "it cannot be read"
        raise RestoreRefusedError(
            f"{shown}: {reason}. etcd has not begun yet: put the file back and run `up` again, or "
            "take the setting out, and it begins empty."
        ) from None
    if archive.authority != props["ca_certificate"]:
        raise RestoreRefusedError(
            f"{shown}: the machines were begun with other machine secrets than those in it, and "
            "could not read it. `make down`, then `make up`."
        )
    return archive.etcd
