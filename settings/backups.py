"""Where backups of the castle go: NFS shares, folders, and S3-compatible object storage.

A place in an object storage is written as Longhorn writes it (longhorn.io, Setting a Backup
Target): ``s3://BUCKET@REGION/PREFIX``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from settings.chart_values import Credential
from settings.group import Group
from settings.values import Certificate, Like, Url, UserError, Whole

_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])@([a-z0-9-]+)/([^\s?#$,]*)")
"""Buckets are named as Amazon has them (Bucket naming rules); most others take the same. Longhorn
refuses ``$`` and ``,`` (longhorn-manager v1.12.1 datastore checkBackupTargetURLFormat)."""
_NFS = re.compile(r"nfs://[A-Za-z0-9][A-Za-z0-9.-]*:/[^\s?#$,]*")
_SHARE_OR_BUCKET = re.compile(rf"(?:{_NFS.pattern}|{_PLACE.pattern})")
_FOLDER = re.compile(r"(?!\w+://)[^\s\x00]([^\x00\n]*[^\s\x00])?")
_FOLDER_OR_BUCKET = re.compile(rf"(?:{_FOLDER.pattern}|{_PLACE.pattern})")
_FIELD = r"[0-9*][0-9*/,-]*"
_SCHEDULE = re.compile(rf"{_FIELD}( {_FIELD}){{4}}")
_FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "weekday": (0, 6),
}
"""The fields and their bounds, as Longhorn and Kubernetes read them (robfig/cron v3 parser.go
``ParseStandard``)."""
_PART = re.compile(r"(\*|(?P<begin>\d{1,2})(-(?P<end>\d{1,2}))?)(/(?P<step>\d{1,3}))?")
_FIRST_DAY, _LAST_DAY = date(2024, 1, 1), date(2032, 12, 31)
"""Days that ``longest_gap`` compares: any leap day of a schedule occurs at least twice."""
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


def _schedule(value: str) -> str:
    if not _SCHEDULE.fullmatch(value):
        raise UserError(
            "is not a schedule of five fields (crontab(5))",
            'write minute, hour, day, month and weekday, as in "0 3 * * *"',
        )
    for text, (name, (first, last)) in zip(value.split(), _FIELDS.items(), strict=True):
        if not all(_is_part(part, first, last) for part in text.split(",")):
            sunday = "; Sunday is 0" if name == "weekday" else ""
            raise UserError(
                f"has a {name} that is none: {text}",
                f"write *, numbers from {first} to {last}, or ranges of them that go up; a step "
                f"behind a slash is 1 or more{sunday}",
            )
    return value


def _is_part(text: str, first: int, last: int) -> bool:
    """Whether ``*``, ``3``, ``1-5`` or one of them with ``/2`` stays within its bounds."""
    found = _PART.fullmatch(text)
    if not found or (found["step"] and int(found["step"]) == 0):
        return False
    if found["begin"] is None:
        return True
    begin = int(found["begin"])
    return first <= begin <= int(found["end"] or begin) <= last


def longest_gap(schedule: str) -> timedelta | None:
    """The longest time between two runs of a schedule that is valid; None if it never runs twice.

    Reads the five fields as Longhorn does (robfig/cron v3 spec.go ``dayMatches``).
    """
    minute, hour, day, month, weekday = schedule.split()
    minutes = [
        60 * hours + rest
        for hours in sorted(_numbers(hour, "hour"))
        for rest in sorted(_numbers(minute, "minute"))
    ]
    days, months = _numbers(day, "day"), _numbers(month, "month")
    weekdays = _numbers(weekday, "weekday")
    # With both fields restricted, a day matches if one of them does.
    either = not (_has_star(day) or _has_star(weekday))
    runs = []
    for number in range(_FIRST_DAY.toordinal(), _LAST_DAY.toordinal() + 1):
        it = date.fromordinal(number)
        matches = (it.day in days, it.isoweekday() % 7 in weekdays)
        if it.month in months and (any(matches) if either else all(matches)):
            runs.append(number)
    gaps = [later - earlier for earlier, later in pairwise(minutes)]
    overnight = minutes[0] - minutes[-1]
    gaps += [24 * 60 * (later - earlier) + overnight for earlier, later in pairwise(runs)]
    return timedelta(minutes=max(gaps)) if len(runs) > 1 else None


def _numbers(field: str, name: str) -> set[int]:
    """The numbers that a valid field stands for."""
    first, last = _FIELDS[name]
    found: set[int] = set()
    for text in field.split(","):
        part = _PART.fullmatch(text)
        assert part, "checked when the settings are loaded"
        begin = int(part["begin"] or first)
        # "5/15" means "5-59/15", and "5" alone means "5-5".
        alone = part["begin"] is not None and not part["step"]
        end = int(part["end"] or (begin if alone else last))
        found |= set(range(begin, end + 1, int(part["step"] or 1)))
    return found


def _has_star(field: str) -> bool:
    """Whether a field restricts nothing: ``*``, alone or in a list; ``*/2`` restricts."""
    return any(part in ("*", "*/1") for part in field.split(","))


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
    schedule: Annotated[StrictStr, AfterValidator(_schedule), Like(_SCHEDULE)] = "0 3 * * *"
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
