"""Backups in a bucket of an S3-compatible server: NAS, MinIO, Garage, Backblaze B2, AWS."""

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

ANSWER_TIMEOUT_S = 15
"""Timeout for a connection to the server, and for each read."""
MAX_ATTEMPTS = 2
MISSING_OBJECT = frozenset({"NoSuchKey", "404"})
"""Error codes of a missing object."""


class BucketBackups:
    """The backup store in a bucket. S3 writes an object completely or not at all."""

    def __init__(self, target: str, account: S3) -> None:
        """``target`` is ``s3://BUCKET@REGION/PREFIX``; ``account`` has endpoint and credentials."""
        bucket = bucket_of(target)
        assert bucket is not None
        self._url = f"s3://{bucket.name}/{bucket.prefix}".rstrip("/")
        self._bucket, self._prefix = bucket.name, bucket.prefix
        # boto3 reads the certificate from a file, which is deleted with this object.
        self._certificate = _temporary_file(account.certificate) if account.certificate else None
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=account.endpoint,
            region_name=bucket.region,
            aws_access_key_id=account.access_key,
            aws_secret_access_key=account.secret_key.get_secret_value(),
            verify=self._certificate.name if self._certificate else None,
            config=Config(
                connect_timeout=ANSWER_TIMEOUT_S,
                read_timeout=ANSWER_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
                # Only Amazon has a DNS name for each bucket, so the bucket goes into the path.
                s3={"addressing_style": "path"},
                # Some compatible servers refuse Amazon's newer checksums (boto/boto3#4392).
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def __str__(self) -> str:
        return self._url

    def read(self, name: str) -> bytes | None:
        """Return the newest backup of a name, or None. Raises ``BackupError``."""
        with self._backup_errors(f"{self}/{name} cannot be read"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
                content: bytes = answer["Body"].read()
            except ClientError as error:
                if _code(error) in MISSING_OBJECT:
                    return None
                raise
            return content

    def write(self, name: str, content: bytes) -> None:
        """Store a backup as the newest of a name. Raises ``BackupError``."""
        with self._backup_errors(f"{self}/{name} cannot be written"):
            # Each backup is copied to the name of the next older one, the oldest first. The newest
            # also keeps its name, so that there is a backup if the next step fails.
            for age in range(OLDER - 1, -1, -1):
                self._copy(older(name, age) if age else name, older(name, age + 1))
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    def _copy(self, name: str, to: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._prefix + name}
        try:
            self._client.copy_object(Bucket=self._bucket, Key=self._prefix + to, CopySource=source)
        except ClientError as error:
            if _code(error) not in MISSING_OBJECT:
                raise

    @contextmanager
    def _backup_errors(self, what: str) -> Iterator[None]:
        """Convert errors of boto3 into a ``BackupError`` that starts with ``what``."""
        try:
            yield
        except ClientError as error:
            text = error.response.get("Error", {}).get("Message") or _code(error)
            raise BackupError(f"{what}: {_code(error)}: {text}") from None
        except BotoCoreError as error:
            raise BackupError(f"{what}: {error}") from None


def _temporary_file(text: str) -> Any:
    """A file with this text; it is deleted when the returned object is garbage-collected."""
    file = tempfile.NamedTemporaryFile("w", suffix=".pem")  # noqa: SIM115 - see the docstring
    file.write(text)
    file.flush()
    return file


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
