"""Rules of the certificates: how they are asked for, and what it takes to keep them."""

from __future__ import annotations

from collections.abc import Iterator

from settings.models import Sops, Traefik
from settings.problems import Problem


def what_is_kept_is_encrypted(traefik: Traefik, sops: Sops) -> Iterator[Problem]:
    """Keys of an ACME account and of certificates lie nowhere in the open."""
    if "backup" in traefik.acme.model_fields_set and sops.age_key is None:
        yield Problem(
            "sops.age_key",
            "missing",
            "traefik.acme.backup keeps certificates only encrypted, for this key",
            "make it with `make age-key`",
        )
