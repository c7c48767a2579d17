"""Check of the backup targets: the folder exists, and NFS share and S3 server answer."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from backup.store import BackupError, in_time
from doctor import web
from doctor.checks.longhorn import storage_of
from doctor.context import Context
from doctor.findings import Finding, note, ok, warning
from settings.backups import S3, bucket_of, server_of

NFS_PORT = 2049
"""TCP port of NFS version 4 (RFC 7530)."""


def check_backup_targets(context: Context) -> Iterator[Finding]:
    """Check that each target answers. The keys of S3 are not tested; ``make up`` tests them."""
    settings = context.settings
    volumes, certificates = settings.longhorn.backup, settings.traefik.acme.backup.target
    if volumes is None:
        yield note(
            "volumes", "have no backup: `make down` deletes their data", "set longhorn.backup"
        )
    elif bucket_of(volumes.target) is None and storage_of(context) is None:
        # If the cluster runs, the check "backup target" uses Longhorn's own status instead,
        # because nodes may fail to mount a share whose port answers (longhorn/longhorn#13468).
        yield _check_port(context, volumes.target, server_of(volumes.target), NFS_PORT)
    if settings.sops.age_key is None:
        yield note(
            "site certificates", "have no backup: `make down` deletes them", "run `make age-key`"
        )
    elif bucket_of(certificates) is None:
        yield _check_folder(Path(certificates).expanduser())
    if settings.s3:
        yield _check_port(context, settings.s3.endpoint, *_host_and_port(settings.s3))


def _host_and_port(account: S3) -> tuple[str, int]:
    url = urllib.parse.urlsplit(account.endpoint)
    return str(url.hostname), url.port or (443 if url.scheme == "https" else 80)


def _check_port(context: Context, subject: str, server: str, port: int) -> Finding:
    try:
        context.probes.connect(server, port)
    except OSError as error:
        return warning(
            subject,
            f"does not answer at port {port}: {web.reason(error)}",
            "check that the server is up and that its address is right; until it answers, its "
            "backups are neither written nor read",
        )
    return ok(subject, f"answers at port {port}")


def _check_folder(path: Path) -> Finding:
    """Check the folder of the certificates' backups.

    The program creates a folder with a relative path itself. A folder with an absolute path must
    exist, because it may be on a share that is not mounted.
    """
    try:
        missing = path.is_absolute() and not in_time(path, path.is_dir)
    except BackupError as error:
        return warning(
            str(path),
            str(error).removeprefix(f"{path} "),
            "correct this; until then backups of site certificates are neither written nor read",
        )
    if missing:
        return warning(
            str(path),
            "does not exist: backups of site certificates in it would not be found",
            "mount its filesystem, or create the folder",
        )
    return ok(str(path), "holds the backups of the site certificates")
