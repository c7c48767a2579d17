"""Rehearsed stacks, shared between tests, and their reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clients.pulumi_cli.session import StackReader
from rehearsal.run import Rehearsal, rehearse
from report import gather
from report.model import Report
from tests.rehearsal.conftest import vary as vary
from tests.rehearsals import FIXTURES, rehearsed_fixture, rehearsed_stack, write_stack

MakeReport = Callable[..., Report]
LARGE = {
    "cluster.name": "a-castle-of-a-long-name",
    "nodes.workers": {"count": 100, "first_address": "192.168.1.121", "data_disk_gib": 120},
    "nodes.overrides": {
        "worker-50": {"address": "192.168.1.250"},
        "worker-100": {"address": "192.168.1.240"},
    },
    "longhorn.replicas": 3,
}
"""Three hosts and 103 nodes with long names, as a change of the ``ha`` stack."""


@pytest.fixture(scope="session")
def homelab() -> Rehearsal:
    """The rehearsed stack ``homelab``. Tests share it and must not change it."""
    return rehearsed_stack("homelab")


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A rehearsed stack of 3 hosts and 103 nodes. Tests share it and must not change it."""
    folder = tmp_path_factory.mktemp("large")
    write_stack(folder, "ha", LARGE)
    return rehearse("ha", folder)


@pytest.fixture
def resources(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The resources that the fake Pulumi CLI exports; empty until a test adds some."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(StackReader, "resources", lambda _: found)
    return found


@pytest.fixture
def make_report(tmp_path: Path, resources: list[dict[str, Any]]) -> MakeReport:
    """Builds the report of a rehearsal, with an empty project folder ``tmp_path``."""

    def make(rehearsal: Rehearsal) -> Report:
        return gather.build_report(rehearsal, tmp_path)

    return make


@pytest.fixture(params=FIXTURES)
def any_stack(request: pytest.FixtureRequest) -> Rehearsal:
    """Each valid stack file of tests/settings, rehearsed. Tests share it and must not change it."""
    return rehearsed_fixture(request.param)
