"""What is to outlive the castle has a place, and who keeps it answers."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from backup.store import BackupError, in_time
from doctor import web
from doctor.context import Context
from doctor.findings import Finding, note, ok, warning
from doctor.storage import storage_of
from settings.backups import S3, bucket_of, server_of

NFS = 2049
"""Port of NFS version 4 (RFC 7530), which has no other."""


def check(context: Context) -> Iterator[Finding]:
    """Each place answers; whether a key opens it is told by the first ``up``."""
    settings = context.settings
    volumes, certificates = settings.longhorn.backup, settings.traefik.acme.backup.target
    if volumes is None:
        yield note("volumes", "are in no backup: they go with the castle", "set longhorn.backup")
    elif bucket_of(volumes.target) is None and storage_of(context) is None:
        # In a running cluster Longhorn's own state of the target counts: a port that answers does
        # not mean that the nodes can mount the share (longhorn/longhorn#13468).
        yield _answers(context, volumes.target, server_of(volumes.target), NFS)
    if settings.sops.age_key is None:
        yield note("certificates", "are not kept: they go with the castle", "`make age-key`")
    elif bucket_of(certificates) is None:
        yield _folder(Path(certificates).expanduser())
    if settings.s3:
        yield _answers(context, settings.s3.endpoint, *_place(settings.s3))


def _place(account: S3) -> tuple[str, int]:
    url = urllib.parse.urlsplit(account.endpoint)
    return str(url.hostname), url.port or (443 if url.scheme == "https" else 80)


def _answers(context: Context, subject: str, server: str, port: int) -> Finding:
    try:
        context.probes.connect(server, port)
    except OSError as error:
        return warning(
            subject,
            f"does not answer at port {port}: {web.reason(error)}",
            "see that the server is up and its address is right: what it keeps is neither written "
            "nor found",
        )
    return ok(subject, f"answers at port {port}")


def _folder(path: Path) -> Finding:
    """A folder of our own is made when it is needed; one elsewhere may be a share."""
    try:
        missing = path.is_absolute() and not in_time(path, path.is_dir)
    except BackupError as error:
        return warning(
            str(path),
            str(error).removeprefix(f"{path} "),
            "see to it: certificates are neither kept nor found",
        )
    if missing:
        return warning(
            str(path),
            "is not there: certificates that are kept in it would not be found",
            "mount what it lies on, or make it",
        )
    return ok(str(path), "keeps the certificates")
