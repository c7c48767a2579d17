"""Takes snapshots of etcd and stores the newest in ``.state/etcd``.

A snapshot is streamed into memory and, if the stack has an age key, written to disk only encrypted
and together with the machine secrets. Without an age key the file is etcd's plain snapshot alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import yaml

from backup.etcd_archive import Archive, ArchiveError, check, secrets_of
from clients.errors import OperationError
from clients.talos import machine_api, protobuf
from clients.talos.errors import TalosError
from clients.tls import ClientCredentials, context_of
from lifecycle.operations.context import ClusterContext
from lifecycle.operations.live_config import machine_config
from settings.project import STATE_FOLDER
from settings.state_files import write_private_file

FOLDER = STATE_FOLDER / "etcd"
"""Folder of the snapshots; git ignores it."""
ENCRYPTED_SUFFIX = ".db.age"
"""Suffix of an encrypted file with snapshot and machine secrets."""
PLAIN_SUFFIX = ".db"
"""Suffix of a plain snapshot of etcd, without machine secrets."""
MAX_FILES = 5
"""Number of snapshots per stack; older files are deleted."""
FRESH_S = 3600
"""Seconds for which a snapshot is recent enough for another operation of the same ``up``."""
SILENCE_TIMEOUT_S = 120
"""Seconds that a node may send nothing while it takes a snapshot."""
_SNAPSHOT = "/machine.MachineService/EtcdSnapshot"
_BYTES = 2
"""Number of the field with the bytes in a message of the stream (Talos' ``common.Data``)."""


def take_snapshot(credentials: ClientCredentials, addresses: Iterable[str]) -> Archive:
    """Take a snapshot from the first control plane that gives one; ``addresses`` are those of the
    control planes. ``credentials`` are a Talos client. Raises ``OperationError``.
    """
    failures = []
    for address in addresses:
        try:
            return _take_from(credentials, address)
        except TalosError as error:
            failures.append(f"{address}: {error.detail}")
        except ArchiveError as error:
            failures.append(f"{address}: {error}")
        except (LookupError, ValueError):
            # Without the text of the error, which may quote the machine config with its secrets.
            failures.append(f"{address}: its machine config is not that of a control plane")
    raise OperationError(
        f"No control plane gives a snapshot of etcd ({'; '.join(failures)}). Nothing has been "
        "touched. Repair etcd first: check `talosctl etcd status` and `talosctl service etcd`."
    )


def store_snapshot(archive: Archive, cluster: str, recipient: str | None) -> Path:
    """Store a snapshot in a new file; delete all but the newest ``MAX_FILES`` files of the stack.

    ``cluster`` is the stack tag. ``recipient`` is the age recipient; ``None`` writes plain text.
    """
    FOLDER.mkdir(parents=True, mode=0o700, exist_ok=True)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = FOLDER / f"{cluster}-{now}{ENCRYPTED_SUFFIX if recipient else PLAIN_SUFFIX}"
    write_private_file(path, archive.sealed(recipient) if recipient else archive.etcd)
    for old in stored_files(cluster)[:-MAX_FILES]:
        old.unlink(missing_ok=True)
    return path


def take_and_store(
    context: ClusterContext, credentials: ClientCredentials, addresses: Iterable[str]
) -> Path:
    """Take a snapshot and store it; returns its file. Raises ``OperationError``."""
    return store_snapshot(
        take_snapshot(credentials, addresses), context.cluster, context.age_recipient
    )


def stored_files(cluster: str) -> list[Path]:
    """The snapshot files of a stack (``cluster`` is its tag), oldest first."""
    name = re.compile(re.escape(cluster) + r"-\d{8}T\d{6}Z\.db(\.age)?")
    return sorted(path for path in FOLDER.glob("*") if name.fullmatch(path.name))


def is_fresh(cluster: str) -> bool:
    """Whether the newest snapshot of a stack is less than an hour old."""
    newest = max((path.stat().st_mtime for path in stored_files(cluster)), default=0.0)
    return time.time() - newest <= FRESH_S


def _take_from(credentials: ClientCredentials, address: str) -> Archive:
    parts = machine_api.stream(address, context_of(credentials), _SNAPSHOT, limit=SILENCE_TIMEOUT_S)
    snapshot = b"".join(protobuf.find(part, _BYTES) for part in parts)
    check(snapshot)
    config = next(yaml.safe_load_all(machine_config(credentials, address)))
    image: str = config["cluster"]["apiServer"]["image"]
    return Archive(etcd=snapshot, secrets=secrets_of(config), kubernetes=image.rpartition(":")[2])
