"""The certificates in the Pulumi state and those of the sites: only names and dates.

Pulumi encrypts the keys in the state, but not the certificates. So the state is read without
decryption, and no key can reach the page.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cryptography import x509

from clients.talos import credentials
from commands import acme_record
from report import model

_CREDENTIALS = (
    ("kubeconfig", "kubectl; make up renews it every six months"),
    ("talosconfig", "talosctl; make up renews it every six months"),
)
"""Name of the stack's output, and purpose of the credential."""
_CAS = (
    (
        "talos:machine/secrets:Secrets",
        ("machineSecrets", "certs", "k8s", "cert"),
        "Kubernetes CA",
        "signs certificates of the API server and kubeconfigs",
    ),
    (
        "talos:machine/secrets:Secrets",
        ("machineSecrets", "certs", "k8sAggregator", "cert"),
        "Kubernetes aggregator CA",
        "signs certificates of API extensions",
    ),
    (
        "talos:machine/secrets:Secrets",
        ("machineSecrets", "certs", "etcd", "cert"),
        "etcd CA",
        "signs certificates of etcd members",
    ),
    (
        "talos:machine/secrets:Secrets",
        ("machineSecrets", "certs", "os", "cert"),
        "Talos CA",
        "signs certificates of Talos nodes and talosconfigs",
    ),
)
"""CAs: type of the resource, path in its outputs, name and purpose."""


def find_certificates(resources: list[dict[str, Any]], now: datetime) -> model.Certificates:
    """Find the certificates in the resources of a state; the first to expire comes first."""
    found = tuple(sorted(_find_all(resources, now), key=lambda it: (it.ends, it.name)))
    reason = "" if found else "the stack has no cluster yet"
    return model.Certificates(found=found, reason=reason)


def add_site_certificates(
    certificates: model.Certificates,
    signed: Iterable[acme_record.Signed],
    server: str,
    now: datetime,
) -> model.Certificates:
    """Add the certificates of sites that one ACME server (``staging``, ``production``) signed.

    Adds none if the stack has no cluster.
    """
    if not certificates.found:
        return certificates
    purposes = {
        "staging": "a site, for testing: browsers do not trust it",
        "production": "a site; Traefik renews it in its last month",
    }
    sites = [
        model.Certificate(
            name=it.certificate.name,
            opens=purposes[server],
            begins=it.certificate.begins,
            ends=it.certificate.ends,
            days_left=(it.certificate.ends - now).days,
        )
        for it in signed
        if it.server == server
    ]
    both = sorted([*certificates.found, *sites], key=lambda it: (it.ends, it.name))
    return replace(certificates, found=tuple(both))


def no_certificates(reason: str) -> model.Certificates:
    """An empty result with the reason: the state could not be read."""
    return model.Certificates(found=(), reason=reason)


def _find_credentials(
    resources: list[dict[str, Any]], now: datetime
) -> Iterator[model.Certificate]:
    for resource in resources:
        ends = credentials.ends_of(resource)
        for name, purpose in _CREDENTIALS:
            if end := ends.get(name):
                begin = end - credentials.LIFE
                yield model.Certificate(
                    name=name, opens=purpose, begins=begin, ends=end, days_left=(end - now).days
                )


def _find_all(resources: list[dict[str, Any]], now: datetime) -> Iterator[model.Certificate]:
    yield from _find_credentials(resources, now)
    for type_, path, name, purpose in _CAS:
        for resource in resources:
            if resource.get("type") != type_ or resource.get("delete"):
                continue
            certificate = _parse(_value_at(resource.get("outputs"), path))
            if certificate:
                ends = certificate.not_valid_after_utc
                yield model.Certificate(
                    name=name,
                    opens=purpose,
                    begins=certificate.not_valid_before_utc,
                    ends=ends,
                    days_left=(ends - now).days,
                )


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
