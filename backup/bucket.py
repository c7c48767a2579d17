"""Backups in a bucket of an S3-compatible server: NAS, MinIO, Garage, Backblaze B2, AWS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError
from obstore.store import S3Store

from backup.store import BackupStore
from settings.backups import S3, bucket_of

if TYPE_CHECKING:
    from obstore.store import S3Credential

ANSWER_TIMEOUT_S = 15
"""Timeout for a connection to the server, and for each read."""
REQUEST_TIMEOUT_S = 300
"""Timeout for a whole request, for slow connections."""
MISSING_OBJECT = frozenset({"", "NoSuchKey"})
"""Error codes of a missing object in an answer 404. A missing bucket has another code."""


class BucketStore(BackupStore):
    """The backup store in a bucket. S3 writes an object completely or not at all."""

    def __init__(self, target: str, account: S3) -> None:
        """``target`` is ``s3://BUCKET@REGION/PREFIX``; ``account`` has endpoint and credentials."""
        bucket = bucket_of(target)
        assert bucket is not None
        self._bucket, self._account = bucket, account

    def __str__(self) -> str:
        return f"s3://{self._bucket.name}/{self._bucket.prefix}".rstrip("/")

    def _get(self, name: str) -> bytes:
        with self._os_errors():
            return bytes(self._store.get(name).bytes())

    def _put(self, name: str, content: bytes) -> None:
        with self._os_errors():
            self._store.put(name, content)

    def _copy(self, name: str, to: str) -> None:
        with self._os_errors():
            self._store.copy(name, to)

    @cached_property
    def _store(self) -> S3Store:
        """The client. ``S3Store`` also reads the variables ``AWS_*`` of the environment, so every
        value that must not come from there is set: a token of another account, for example."""
        account, answer_timeout = self._account, timedelta(seconds=ANSWER_TIMEOUT_S)
        return S3Store(
            self._bucket.name,
            prefix=self._bucket.prefix.rstrip("/") or None,
            region=self._bucket.region,
            aws_endpoint_url_s3=account.endpoint,
            credential_provider=self._credential,
            skip_signature=False,
            # Only Amazon has a DNS name for each bucket, so the bucket goes into the path.
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": account.endpoint.startswith("http:"),
                "connect_timeout": answer_timeout,
                "read_timeout": answer_timeout,
                "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
                **({"root_certificate": account.certificate} if account.certificate else {}),
            },
            retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
        )

    def _credential(self) -> S3Credential:
        return {
            "access_key_id": self._account.access_key,
            "secret_access_key": self._account.secret_key.get_secret_value(),
            "token": None,
            "expires_at": None,
        }

    @contextmanager
    def _os_errors(self) -> Iterator[None]:
        """Convert errors of obstore into ``OSError``."""
        try:
            yield
        except (BaseError, FileNotFoundError, ValueError) as error:
            text = str(error)
            code = _element(text, "Code")
            if isinstance(error, FileNotFoundError) and code in MISSING_OBJECT:
                raise
            server = self._account.endpoint
            if code:
                reason = f"{code}: {_element(text, 'Message')}"
            elif status := re.search(r"status code: (\d+[\w ]*)", text):
                reason = f"{server} answers {status[1].strip()}"
            elif "InvalidCertificate" in text:
                reason = (
                    f"the certificate of {server} is refused ({_innermost_cause(text)}); if its CA "
                    "is private, set s3.certificate"
                )
            else:
                reason = f"{server} does not answer: {_innermost_cause(text)}"
            raise OSError(reason) from None


def _element(text: str, name: str) -> str:
    """The content of an XML element in the answer of an S3 server, which obstore's errors quote."""
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found[1] if found else ""


def _innermost_cause(text: str) -> str:
    """The innermost cause in an error of obstore, which has the structure of the causes only as
    text: one cause a line, the innermost last, then the closing brackets."""
    lines = [line.strip(" ,") for line in text.splitlines() if line.strip(" ,(){}")]
    return (lines[-1].partition(": ")[2] or lines[-1]).strip('"')
