"""Invariants of the resource graph: what Pulumi, the providers and the charts need of this program.

A test checks each invariant over every stack file. Importing this package fills the registry.
"""

from tests.invariants import (  # isort: skip
    engine,
    proxmox,
    talos,
    kubernetes,
    metallb,
    longhorn,
    traefik,
    flux,
)
from tests.invariants.registry import INVARIANTS, Violation, find_violations

__all__ = [
    "INVARIANTS",
    "Violation",
    "engine",
    "find_violations",
    "flux",
    "kubernetes",
    "longhorn",
    "metallb",
    "proxmox",
    "talos",
    "traefik",
]
