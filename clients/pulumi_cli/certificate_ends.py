"""Reads when certificates expire: from the stack outputs, and from the files kubeconfig and
talosconfig in the project folder. Needs no passphrase."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509

from clients.pulumi_cli import state
from clients.talos import credentials


def of(project: Path, read_state: Callable[[], list[dict[str, Any]]]) -> dict[str, datetime]:
    """The expiry times by name.

    ``kubeconfig``, ``talosconfig`` and ``authorities`` are those in the state, ``./kubeconfig`` and
    ``./talosconfig`` those of the files. Missing ones are left out. ``read_state`` returns the
    resources of the state, or raises ``NoStateError``.
    """
    return _outputs(read_state) | dict(_files(project))


def _outputs(read_state: Callable[[], list[dict[str, Any]]]) -> dict[str, datetime]:
    try:
        resources = read_state()
    except state.NoStateError:
        return {}
    return {name: end for it in resources for name, end in credentials.ends_of(it).items()}


def _files(project: Path) -> Iterator[tuple[str, datetime]]:
    for name, certificate in (
        ("kubeconfig", _kubernetes_certificate),
        ("talosconfig", _talos_certificate),
    ):
        try:
            document = yaml.safe_load((project / name).read_text(encoding="utf-8"))
            pem = base64.b64decode(certificate(document))
            yield f"./{name}", x509.load_pem_x509_certificate(pem).not_valid_after_utc
        except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
            continue  # missing, or not a file that this program wrote


def _kubernetes_certificate(document: Any) -> str:
    return str(document["users"][0]["user"]["client-certificate-data"])


def _talos_certificate(document: Any) -> str:
    return str(document["contexts"][document["context"]]["crt"])
