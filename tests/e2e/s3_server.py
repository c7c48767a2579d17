"""An object storage on loopback: a real S3 server, with a certificate that it signed itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

PROGRAM = "versitygw"
"""Serves a folder: buckets are its sub-folders, objects their files (github.com/versity)."""
ACCESS_KEY = "castle"
REGION = "home"
PATIENCE = 30
"""Seconds until it must listen."""


@dataclass(frozen=True)
class Storage:
    """A server that runs."""

    endpoint: str
    """``https://127.0.0.1:PORT``."""
    certificate: str
    """The authority that signed its certificate, as PEM."""
    buckets: Path
    """Folder of the buckets."""


def missing() -> str:
    """What is not there, in one line; empty where it is."""
    return "" if shutil.which(PROGRAM) else f"not found: {PROGRAM}"


@contextmanager
def served(folder: Path, secret_key: str, *buckets: str) -> Iterator[Storage]:
    """Serve these buckets, empty, while the block runs."""
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    pair.private_key_pem.write_to_path(str(key))
    for blob in pair.cert_chain_pems:
        blob.write_to_path(str(certificate), append=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = folder / "buckets"
    for bucket in buckets:
        (root / bucket).mkdir(parents=True)
    flags = ["--port", f"127.0.0.1:{port}", "--region", REGION, "--quiet"]
    flags += ["--cert", str(certificate), "--key", str(key)]
    # It keeps what it knows of an object beside it, where the file system has no attributes.
    (folder / "attributes").mkdir()
    process = subprocess.Popen(
        [PROGRAM, *flags, "posix", "--sidecar", str(folder / "attributes"), str(root)],
        env=os.environ | {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": secret_key},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        text = authority.cert_pem.bytes().decode()
        yield Storage(f"https://127.0.0.1:{port}", text, root)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, f"{PROGRAM} ended"
            assert time.monotonic() < end, f"{PROGRAM} does not listen"
            time.sleep(0.1)  # another program has no event for us
