"""Castles that were rehearsed once, and the reports of them."""

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
    "nodes.workers": {"count": 27, "first_address": "192.168.1.130", "data_disk_gib": 120},
    "longhorn.replicas": 3,
}
"""Three hosts and thirty nodes, as a change of the ``ha`` stack."""


@pytest.fixture(scope="session")
def homelab() -> Rehearsal:
    """The rehearsed reference stack; shared, so look only."""
    return rehearse("homelab")


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A castle with 3 hosts and 30 nodes; shared, so look only."""
    folder = tmp_path_factory.mktemp("large")
    write_stack(folder, "ha", LARGE)
    return rehearse("ha", folder)


@pytest.fixture
def resources(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The engine's state in place of the CLI's answer; empty until a test fills it."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(state, "resources", lambda *arguments: found)
    return found


@pytest.fixture
def make_report(tmp_path: Path, resources: list[dict[str, Any]]) -> MakeReport:
    """The report of a rehearsal, in a folder with no record of any ``up``."""

    def make(found: Rehearsal) -> Report:
        return gather.of(found, tmp_path)

    return make


@functools.cache
def _rehearsed(path: Path) -> Rehearsal:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"Pulumi.{path.stem}.yaml"
        file.write_text(yaml.safe_dump({"config": document(path)}), encoding="utf-8")
        return rehearse(path.stem, Path(folder))


@pytest.fixture(params=VALID, ids=lambda path: path.stem)
def any_castle(request: pytest.FixtureRequest) -> Rehearsal:
    """Each stack file that the settings' own tests know to be valid, rehearsed; look only."""
    return _rehearsed(request.param)
