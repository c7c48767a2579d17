"""What the real thing refuses, each as a small rule with its source.

A rule looks at the whole castle and yields what it would be refused for. Sources named ``facts/``
are this project's own measurements with the real engine, providers and charts; see
``docs/rehearsal.md``. Each module adds its rules to the book, in this order.
"""

from rehearsal.rules import (  # isort: skip
    engine,
    proxmox,
    talos,
    kubernetes,
    metallb,
    longhorn,
    traefik,
    flux,
)
from rehearsal.rules.book import RULES, Finding, findings

__all__ = [
    "RULES",
    "Finding",
    "engine",
    "findings",
    "flux",
    "kubernetes",
    "longhorn",
    "metallb",
    "proxmox",
    "talos",
    "traefik",
]
