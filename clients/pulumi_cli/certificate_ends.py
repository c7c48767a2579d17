"""Reads when certificates expire: from the stack outputs, and from the files kubeconfig and
talosconfig in the project folder. Needs no passphrase."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509

from clients.pulumi_cli.session import PulumiError, StackReader
from clients.talos import credentials


def of(reader: StackReader) -> dict[str, datetime]:
    """The expiry times by name.

    ``kubeconfig``, ``talosconfig`` and ``authorities`` are those in the state, ``./kubeconfig`` and
    ``./talosconfig`` those of the files. Missing ones are left out.
    """
    return _outputs(reader) | dict(_files(reader.project))


def _outputs(reader: StackReader) -> dict[str, datetime]:
    try:
        resources = reader.resources()
    except PulumiError:
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
