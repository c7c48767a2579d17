"""The certificates in the Pulumi state and those of the sites: only names and dates.

Pulumi encrypts the keys in the state, but not the certificates. So the state is read without
decryption, and no key can reach the page.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from cryptography import x509

from clients.talos import credentials
from commands import acme_record
from report.model import Certificate, Certificates
from settings import resource_types

_CREDENTIALS = {
    "kubeconfig": "kubectl; make up renews it every six months",
    "talosconfig": "talosctl; make up renews it every six months",
}
"""By name of the stack's output: purpose of the credential."""
_CAS = {
    "k8s": ("Kubernetes CA", "signs certificates of the API server and kubeconfigs"),
    "k8sAggregator": ("Kubernetes aggregator CA", "signs certificates of API extensions"),
    "etcd": ("etcd CA", "signs certificates of etcd members"),
    "os": ("Talos CA", "signs certificates of Talos nodes and talosconfigs"),
}
"""By name in the machine secrets: name and purpose of the CA."""
_SITES = {
    "staging": "a site, for testing: browsers do not trust it",
    "production": "a site; Traefik renews it in its last month",
}
"""By ACME server: purpose of a certificate that it signed."""


def build_certificates(
    resources: list[dict[str, Any]],
    signed: Iterable[acme_record.Signed],
    server: str,
    now: datetime,
) -> Certificates:
    """Find the certificates of a stack; the first to expire comes first.

    ``resources`` are those of the Pulumi state. ``signed`` are certificates of sites; only those of
    the ACME server in use (``staging`` or ``production``) count, and only if the stack has a
    cluster.
    """
    found = [*_find_credentials(resources, now), *_find_cas(resources, now)]
    if not found:
        return Certificates(found=(), reason="the stack has no cluster yet")
    sites = [it.certificate for it in signed if it.server == server]
    found += [_certificate(it.name, _SITES[server], it.begins, it.ends, now) for it in sites]
    return Certificates(found=tuple(sorted(found, key=lambda it: (it.ends, it.name))), reason="")


def _find_credentials(resources: list[dict[str, Any]], now: datetime) -> Iterator[Certificate]:
    for resource in resources:
        ends = credentials.ends_of(resource)
        for name, purpose in _CREDENTIALS.items():
            if end := ends.get(name):
                yield _certificate(name, purpose, end - credentials.LIFE, end, now)


def _find_cas(resources: list[dict[str, Any]], now: datetime) -> Iterator[Certificate]:
    for resource in resources:
        if resource.get("type") != resource_types.SECRETS or resource.get("delete"):
            continue
        for key, (name, purpose) in _CAS.items():
            path = ("machineSecrets", "certs", key, "cert")
            if ca := _parse(_value_at(resource.get("outputs"), path)):
                begins, ends = ca.not_valid_before_utc, ca.not_valid_after_utc
                yield _certificate(name, purpose, begins, ends, now)


def _certificate(
    name: str, purpose: str, begins: datetime, ends: datetime, now: datetime
) -> Certificate:
    days_left = (ends - now).days
    return Certificate(name=name, opens=purpose, begins=begins, ends=ends, days_left=days_left)


def _value_at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _parse(text: Any) -> x509.Certificate | None:
    """Parse a certificate in the format of Talos (PEM in base64); None if it is not valid."""
    try:
        return x509.load_pem_x509_certificate(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error):
        return None
