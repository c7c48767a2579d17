"""Settings groups for backup targets: NFS shares, folders and S3 buckets.

Buckets use the notation of Longhorn (longhorn.io, "Setting a Backup Target"):
``s3://BUCKET@REGION/PREFIX``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from settings.base import Group
from settings.schedule import SCHEDULE, check_schedule
from settings.values import Certificate, Credential, Like, Text, Url, Whole

_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])@([a-z0-9-]+)/([^\s?#$,]*)")
"""Bucket names follow Amazon's "Bucket naming rules", which most S3 servers share. Longhorn refuses
``$`` and ``,`` in a URL (longhorn-manager v1.12.1 datastore checkBackupTargetURLFormat)."""
_NFS = r"nfs://[A-Za-z0-9][A-Za-z0-9.-]*:/[^\s?#$,]*"
_FOLDER = r"(?!\w+://)[^\s\x00]([^\x00\n]*[^\s\x00])?"
_BUCKET_EXAMPLE = "s3://BUCKET@REGION/PREFIX"


@dataclass(frozen=True)
class Bucket:
    """A bucket and the prefix of its objects."""

    name: str
    region: str
    prefix: str
    """Prefix of the object names: empty, or with a slash at the end."""


def bucket_of(target: str) -> Bucket | None:
    """Parse ``s3://BUCKET@REGION/PREFIX``; None if the target is not a bucket."""
    found = _BUCKET.fullmatch(target)
    if not found:
        return None
    name, region, prefix = found.groups()
    return Bucket(name, region, f"{prefix.strip('/')}/".lstrip("/"))


def server_of(share: str) -> str:
    """The server in an NFS URL: a host name or an address."""
    return share.removeprefix("nfs://").partition(":")[0]


ShareOrBucket = Annotated[
    StrictStr,
    Text(
        rf"(?:{_NFS}|{_BUCKET.pattern})",
        "is neither an NFS share nor a bucket",
        f"write it like nfs://192.168.1.5:/backups, or {_BUCKET_EXAMPLE}",
    ),
]
FolderOrBucket = Annotated[
    StrictStr,
    Text(
        rf"(?:{_FOLDER}|{_BUCKET.pattern})",
        "is neither the path of a folder nor a bucket",
        f"write it like /mnt/nas/castle, or {_BUCKET_EXAMPLE}",
    ),
]
AccessKey = Annotated[
    StrictStr,
    Text(
        r"\S+",
        "is empty or contains spaces",
        "write the access key id without spaces, as the S3 server shows it",
    ),
]
Schedule = Annotated[StrictStr, AfterValidator(check_schedule), Like(SCHEDULE.pattern)]


class S3(Group):
    """Endpoint and credentials of the S3 server, for all targets that start with ``s3://``."""

    endpoint: Url
    """URL of the S3 server: ``https://s3.eu-central-003.backblazeb2.com``."""
    access_key: AccessKey
    """Id of an access key that may list, read, write and delete in the buckets."""
    secret_key: Credential
    """Secret key that belongs to ``access_key``; set it with ``pulumi config set --secret
    --path``."""
    certificate: Certificate | None = None
    """Certificate (PEM) of the S3 server or its CA, if the CA is private."""


class VolumeBackup(Group):
    """Longhorn's scheduled backups of all volumes."""

    target: ShareOrBucket
    """NFS share ``nfs://192.168.1.5:/backups``, or bucket ``s3://BUCKET@REGION/PREFIX``, outside of
    the cluster. A bucket needs the group ``s3``."""
    schedule: Schedule = "0 3 * * *"
    """When Longhorn backs up each volume: minute, hour, day, month, weekday, in UTC."""
    retain: Annotated[Whole, Field(ge=1, le=100)] = 7
    """Number of backups to retain of each volume, 1 to 100 (Longhorn's limit)."""


class CertificateBackup(Group):
    """Backups of the ACME account and its certificates, encrypted with ``sops.age_key``. Without
    that key there are no backups."""

    target: FolderOrBucket = ".state/certificates"
    """Folder (relative paths start at the project folder), or bucket ``s3://BUCKET@REGION/PREFIX``,
    which needs the group ``s3``. The program creates a missing folder; for an absolute path its
    parent must exist."""
