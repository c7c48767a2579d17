"""Where backups of the castle go: NFS shares, folders, and S3-compatible object storage.

A place in an object storage is written as Longhorn writes it (longhorn.io, Setting a Backup
Target): ``s3://BUCKET@REGION/PREFIX``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from settings.base import Group
from settings.chart_values import Credential
from settings.problems import UserError
from settings.schedule import SCHEDULE, check_schedule
from settings.values import Certificate, Like, Url, Whole

_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])@([a-z0-9-]+)/([^\s?#$,]*)")
"""Buckets are named as Amazon has them (Bucket naming rules); most others take the same. Longhorn
refuses ``$`` and ``,`` (longhorn-manager v1.12.1 datastore checkBackupTargetURLFormat)."""
_NFS = re.compile(r"nfs://[A-Za-z0-9][A-Za-z0-9.-]*:/[^\s?#$,]*")
_SHARE_OR_BUCKET = re.compile(rf"(?:{_NFS.pattern}|{_PLACE.pattern})")
_FOLDER = re.compile(r"(?!\w+://)[^\s\x00]([^\x00\n]*[^\s\x00])?")
_FOLDER_OR_BUCKET = re.compile(rf"(?:{_FOLDER.pattern}|{_PLACE.pattern})")
_ACCESS_KEY = re.compile(r"\S+")
_LIKE_S3 = "s3://BUCKET@REGION/PREFIX"


@dataclass(frozen=True)
class Bucket:
    """A place in an object storage."""

    name: str
    region: str
    prefix: str
    """What the names of its objects begin with: empty, or ending with a slash."""


def bucket_of(target: str) -> Bucket | None:
    """The place that ``s3://BUCKET@REGION/PREFIX`` names; none where a target is none."""
    found = _PLACE.fullmatch(target)
    if not found:
        return None
    name, region, prefix = found.groups()
    return Bucket(name, region, f"{prefix.strip('/')}/".lstrip("/"))


def server_of(share: str) -> str:
    """The server of an NFS share: a name or an address."""
    return share.removeprefix("nfs://").partition(":")[0]


def _share_or_bucket(value: str) -> str:
    if _SHARE_OR_BUCKET.fullmatch(value):
        return value
    raise UserError(
        "is neither an NFS share nor a bucket",
        f"write it like nfs://192.168.1.5:/backups, or {_LIKE_S3}",
    )


def _folder_or_bucket(value: str) -> str:
    if _FOLDER_OR_BUCKET.fullmatch(value):
        return value
    raise UserError(
        "is neither the path of a folder nor a bucket",
        f"write it like /mnt/nas/castle, or {_LIKE_S3}",
    )


def _access_key(value: str) -> str:
    if _ACCESS_KEY.fullmatch(value):
        return value
    raise UserError("is not the id of an access key", "write it as the server shows it")


class S3(Group):
    """The account of an S3-compatible server, for targets that begin with ``s3://``."""

    endpoint: Url
    """Address of the server: ``https://s3.eu-central-003.backblazeb2.com``."""
    access_key: Annotated[StrictStr, AfterValidator(_access_key), Like(_ACCESS_KEY)]
    """Id of an access key that may list, read, write and delete in the buckets."""
    secret_key: Credential
    """Its secret half; only by ``pulumi config set --secret --path``."""
    certificate: Certificate | None = None
    """Certificate (PEM) of the authority that the server's own is signed by, or itself, where it is
    none that everybody trusts."""


class VolumeBackup(Group):
    """Where Longhorn keeps backups of all volumes, the certificates' among them, and how many."""

    target: Annotated[StrictStr, AfterValidator(_share_or_bucket), Like(_SHARE_OR_BUCKET)]
    """An NFS share, ``nfs://192.168.1.5:/backups``, or a bucket, ``s3://BUCKET@REGION/PREFIX``.
    Either outlives the castle; the group ``s3`` opens the bucket."""
    schedule: Annotated[StrictStr, AfterValidator(check_schedule), Like(SCHEDULE)] = "0 3 * * *"
    """When each volume is backed up: minute, hour, day, month, weekday, in UTC."""
    retain: Annotated[Whole, Field(ge=1, le=100)] = 7
    """How many backups of a volume are kept; Longhorn's own limit is 100."""


class CertificateBackup(Group):
    """Where the ACME account and the certificates outlive the castle, encrypted for
    ``sops.age_key``; without that key they are not kept."""

    target: Annotated[StrictStr, AfterValidator(_folder_or_bucket), Like(_FOLDER_OR_BUCKET)] = (
        ".state/certificates"
    )
    """A folder, from the project's own on, or a bucket, ``s3://BUCKET@REGION/PREFIX``, which the
    group ``s3`` opens. Git ignores the folder by default. One that is missing is made, its parent
    is not."""
