"""Rehearsed stacks, shared between tests, and their reports."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clients.pulumi_cli import state
from rehearsal.run import Rehearsal, rehearse
from report import gather
from report.model import Report
from settings.project import PROJECT_FOLDER
from tests.rehearsal.conftest import vary as vary
from tests.rehearsals import write_stack
from tests.settings.test_fixtures import document

MakeReport = Callable[..., Report]
VALID = sorted((PROJECT_FOLDER / "tests" / "settings" / "valid").glob("*.yaml"))
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
    return rehearse("homelab")


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
    monkeypatch.setattr(state, "resources", lambda *arguments: found)
    return found


@pytest.fixture
def make_report(tmp_path: Path, resources: list[dict[str, Any]]) -> MakeReport:
    """Builds the report of a rehearsal, with an empty project folder ``tmp_path``."""

    def make(rehearsal: Rehearsal) -> Report:
        return gather.build_report(rehearsal, tmp_path)

    return make


@functools.cache
def _rehearsed(path: Path) -> Rehearsal:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"Pulumi.{path.stem}.yaml"
        file.write_text(yaml.safe_dump({"config": document(path)}), encoding="utf-8")
        return rehearse(path.stem, Path(folder))


@pytest.fixture(params=VALID, ids=lambda path: path.stem)
def any_stack(request: pytest.FixtureRequest) -> Rehearsal:
    """Each valid stack file of tests/settings, rehearsed. Tests share it and must not change it."""
    return _rehearsed(request.param)
