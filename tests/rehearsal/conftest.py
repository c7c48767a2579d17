"""Shared rehearsals, and a fixture that rehearses variants of a stack."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from rehearsal.record import Recording
from rehearsal.run import Rehearsal, rehearse
from tests.rehearsals import rehearsed_stack, rehearsed_variant, write_stack

Vary = Callable[..., Rehearsal]


@pytest.fixture(scope="session")
def homelab() -> Rehearsal:
    """The rehearsed reference stack. Do not change it: tests share it."""
    return rehearsed_stack("homelab")


@pytest.fixture(scope="session")
def host_network() -> Rehearsal:
    """The reference stack with host-network exposure. Do not change it."""
    return rehearsed_variant("host network")


@pytest.fixture(scope="session")
def gitops() -> Rehearsal:
    """The reference stack with Flux and an age key. Do not change it."""
    return rehearsed_variant("Flux over SSH, with an age key")


@pytest.fixture
def recording(homelab: Rehearsal) -> Recording:
    """A copy of the recording of the reference stack, which a test may change."""
    return deepcopy(homelab.recording)


@pytest.fixture
def vary(tmp_path: Path) -> Vary:
    """Rehearse a changed stack of the repository: ``vary({"nodes.workers.count": 4})``."""

    def run(changes: dict[str, Any], base: str = "homelab", *, preview: bool = False) -> Rehearsal:
        write_stack(tmp_path, base, changes)
        return rehearse(base, tmp_path, preview=preview)

    return run
