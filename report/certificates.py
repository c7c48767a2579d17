"""The certificates of the cluster, of which nothing but a name and two dates is taken.

Certificates stand in the open in the state, only their keys are secrets (facts/end-to-end.md 13):
so the state is read with its secrets closed, and no key can get near the page.
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

_GIVEN = (
    ("kubeconfig", "kubectl; an up renews it twice a year"),
    ("talosconfig", "talosctl; an up renews it twice a year"),
)
"""Name among the stack's outputs, and what it is for: what people were given."""
_PLACES = (
    (
        "talos:machine/secrets:Secrets",
        ("machineSecrets", "certs", "k8s", "cert"),
        "Kubernetes CA",
        "signs for the API server and kubeconfigs",
    ),
    (
        "talos:machine/secrets:Secrets",
        ("machineSecrets", "certs", "k8sAggregator", "cert"),
        "Kubernetes aggregator CA",
        "signs for extensions of the API",
    ),
    (
        "talos:machine/secrets:Secrets",
        ("machineSecrets", "certs", "etcd", "cert"),
        "etcd CA",
        "signs for the members of etcd",
    ),
    (
        "talos:machine/secrets:Secrets",
        ("machineSecrets", "certs", "os", "cert"),
        "Talos CA",
        "signs for the machines and talosconfigs",
    ),
)
"""Type of the resource, place among its outputs, name, and what it is for: the authorities."""


def of(resources: list[dict[str, Any]], now: datetime) -> model.Certificates:
    """The certificates in a state, those that end first at the front."""
    found = tuple(sorted(_found(resources, now), key=lambda one: (one.ends, one.name)))
    return model.Certificates(found=found, reason="" if found else "not made yet")


def with_sites(
    found: model.Certificates, signed: Iterable[acme_record.Signed], server: str, now: datetime
) -> model.Certificates:
    """The certificates of a castle, and of its sites those that one server signed."""
    if not found.found:
        return found
    opens = {
        "staging": "a site, for tries: browsers refuse it",
        "production": "a site; Traefik renews it in its last month",
    }
    sites = [
        model.Certificate(
            name=it.certificate.name,
            opens=opens[server],
            begins=it.certificate.begins,
            ends=it.certificate.ends,
            days_left=(it.certificate.ends - now).days,
        )
        for it in signed
        if it.server == server
    ]
    both = sorted([*found.found, *sites], key=lambda one: (one.ends, one.name))
    return replace(found, found=tuple(both))


def none(reason: str) -> model.Certificates:
    """No certificates, because the state could not be read."""
    return model.Certificates(found=(), reason=reason)


def _given(resources: list[dict[str, Any]], now: datetime) -> Iterator[model.Certificate]:
    for resource in resources:
        ends = credentials.ends_of(resource)
        for name, opens in _GIVEN:
            if end := ends.get(name):
                begin = end - credentials.LIFE
                yield model.Certificate(
                    name=name, opens=opens, begins=begin, ends=end, days_left=(end - now).days
                )


def _found(resources: list[dict[str, Any]], now: datetime) -> Iterator[model.Certificate]:
    yield from _given(resources, now)
    for type_, place, name, opens in _PLACES:
        for resource in resources:
            if resource.get("type") != type_ or resource.get("delete"):
                continue
            certificate = _read(_at(resource.get("outputs"), place))
            if certificate:
                ends = certificate.not_valid_after_utc
                yield model.Certificate(
                    name=name,
                    opens=opens,
                    begins=certificate.not_valid_before_utc,
                    ends=ends,
                    days_left=(ends - now).days,
                )


def _at(value: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _read(text: Any) -> x509.Certificate | None:
    """A certificate as Talos writes it, PEM in base64; ``None`` where it is none."""
    try:
        return x509.load_pem_x509_certificate(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error):
        return None
