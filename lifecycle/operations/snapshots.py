"""Takes snapshots of etcd, and keeps the newest of them beside the engine's state.

They are streamed from a control plane into memory, and written encrypted: in plain text they lie
on no disk. A castle without an age key keeps the plain snapshot, without its machine secrets.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from backup.etcd_archive import Archive, ArchiveError, check, secrets_of
from clients.errors import OperationError
from clients.talos import machine_api, protobuf
from clients.tls import context_of
from lifecycle.operations.live_config import machine_config
from settings.project import STATE_FOLDER

FOLDER = STATE_FOLDER / "etcd"
"""Where snapshots lie: git ignores it."""
SEALED = ".db.age"
"""How the name of an encrypted one ends, with the machine secrets in it."""
PLAIN = ".db"
"""How the name of one ends that is etcd's own and nothing else."""
KEPT = 5
"""How many snapshots of a castle are kept, the newest."""
FRESH = 3600
"""Seconds for which a snapshot is good enough for one more step of the same work."""
SILENCE = 120
"""Seconds for which a machine may be silent while it makes a snapshot."""
_SNAPSHOT = "/machine.MachineService/EtcdSnapshot"
_BYTES = 2
"""Where a part of a stream has its bytes: common.Data."""


def take(credentials: Mapping[str, Any], addresses: Iterable[str]) -> Archive:
    """Take a snapshot at the first control plane whose etcd gives one.

    ``credentials`` are a Talos ``client_configuration``. Raises ``OperationError``.
    """
    refusals = []
    for address in addresses:
        try:
            return _taken(credentials, address)
        except (machine_api.TalosCallError, ArchiveError, LookupError, ValueError) as error:
            # Never the text of what could not be read: it holds secrets.
            known = isinstance(error, machine_api.TalosCallError | ArchiveError)
            refusals.append(
                f"{address}: {error if known else 'its machine config is no control plane'}"
            )
    raise OperationError(
        f"No control plane gives a snapshot of etcd ({'; '.join(refusals)}). Nothing has been "
        "touched: see to etcd first, with `talosctl etcd status` and `talosctl service etcd`."
    )


def keep(archive: Archive, cluster: str, recipient: str | None) -> Path:
    """Write a snapshot, encrypted if there is a ``recipient``, and forget all but the newest."""
    FOLDER.mkdir(parents=True, mode=0o700, exist_ok=True)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = FOLDER / f"{cluster}-{now}{SEALED if recipient else PLAIN}"
    _write(path, archive.sealed(recipient) if recipient else archive.etcd)
    for old in kept(cluster)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def renew(props: Mapping[str, Any], addresses: Iterable[str]) -> Path:
    """Take a snapshot with the inputs of a resource, and keep it. Raises ``OperationError``."""
    return keep(take(props, addresses), props["cluster"], props.get("age_recipient"))


def kept(cluster: str) -> list[Path]:
    """The snapshots of a castle, oldest first."""
    name = re.compile(re.escape(cluster) + r"-\d{8}T\d{6}Z\.db(\.age)?")
    return sorted(path for path in FOLDER.glob("*") if name.fullmatch(path.name))


def is_fresh(cluster: str) -> bool:
    """Whether there is a snapshot of the last hour."""
    newest = max((path.stat().st_mtime for path in kept(cluster)), default=0.0)
    return time.time() - newest <= FRESH


def _taken(credentials: Mapping[str, Any], address: str) -> Archive:
    parts = machine_api.stream(address, context_of(credentials), _SNAPSHOT, limit=SILENCE)
    snapshot = b"".join(protobuf.find(part, _BYTES) for part in parts)
    check(snapshot)
    config = next(yaml.safe_load_all(machine_config(credentials, address)))
    image: str = config["cluster"]["apiServer"]["image"]
    return Archive(etcd=snapshot, secrets=secrets_of(config), kubernetes=image.rpartition(":")[2])


def _write(path: Path, content: bytes) -> None:
    """Write a file that nobody else can read, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
