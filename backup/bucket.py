"""Backups in a bucket of an S3-compatible object storage: a NAS, MinIO, Garage, Backblaze, AWS."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from backup.store import OLDER, BackupError, older
from settings.backups import S3, bucket_of

LIMIT = 15
"""Seconds that the server may be silent."""
TRIES = 2
MISSING = frozenset({"NoSuchKey", "404"})
"""What a server says of an object that is not there."""


class BucketBackups:
    """Backups in a bucket; an object appears there whole or not at all."""

    def __init__(self, target: str, account: S3) -> None:
        """``target`` is ``s3://BUCKET@REGION/PREFIX``."""
        bucket = bucket_of(target)
        assert bucket is not None
        self._shown = f"s3://{bucket.name}/{bucket.prefix}".rstrip("/")
        self._bucket, self._prefix = bucket.name, bucket.prefix
        # The library reads it from a file; it goes with this object.
        self._authority = _file(account.certificate) if account.certificate else None
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=account.endpoint,
            region_name=bucket.region,
            aws_access_key_id=account.access_key,
            aws_secret_access_key=account.secret_key.get_secret_value(),
            verify=self._authority.name if self._authority else None,
            config=Config(
                connect_timeout=LIMIT,
                read_timeout=LIMIT,
                retries={"mode": "standard", "total_max_attempts": TRIES},
                # A bucket has a name of its own in the DNS with Amazon alone.
                s3={"addressing_style": "path"},
                # Not every compatible server knows Amazon's newer checksums (boto3#4392).
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def __str__(self) -> str:
        return self._shown

    def read(self, name: str) -> bytes | None:
        """The newest of a name, if there is one. Raises ``BackupError``."""
        with self._told(f"{self}/{name} cannot be read"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
                content: bytes = answer["Body"].read()
            except ClientError as error:
                if _code(error) in MISSING:
                    return None
                raise
            return content

    def write(self, name: str, content: bytes) -> None:
        """Make this the newest, whole or not at all. Raises ``BackupError``."""
        with self._told(f"{self}/{name} cannot be written"):
            # From the oldest on, each takes the place of the one before; the newest stays there.
            for age in range(OLDER - 1, -1, -1):
                self._copy(older(name, age) if age else name, older(name, age + 1))
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    def _copy(self, name: str, to: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._prefix + name}
        try:
            self._client.copy_object(Bucket=self._bucket, Key=self._prefix + to, CopySource=source)
        except ClientError as error:
            if _code(error) not in MISSING:
                raise

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn what the library raises into one sentence."""
        try:
            yield
        except ClientError as error:
            said = error.response.get("Error", {}).get("Message") or _code(error)
            raise BackupError(f"{what}: {_code(error)}: {said}") from None
        except BotoCoreError as error:
            raise BackupError(f"{what}: {error}") from None


def _file(text: str) -> Any:
    """A file with a text in it, for as long as the object lives."""
    file = tempfile.NamedTemporaryFile("w", suffix=".pem")  # noqa: SIM115 - closed with its owner
    file.write(text)
    file.flush()
    return file


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
