"""A lab for each test, on loopback networks that no other test process has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.lab import Lab, missing, rack

# Nothing here is beyond loopback; a proxy would be, and the engine and its providers heed it.
for name in [it for it in os.environ if it.lower().endswith("_proxy")]:
    del os.environ[name]

FOLDER = Path(__file__).parent
EXTENT = os.environ.get("CASTLE_E2E", "")
"""How much to run: all scenarios (``all``), the whole sweeps too (``full``), or ``FIRST`` alone."""
FULL = EXTENT == "full"
"""Whether to take the whole sweeps instead of samples: hours instead of minutes."""
FIRST = (
    "test_up_again_refresh_destroy_and_up_again",
    "test_an_up_is_looked_at_first_and_a_castle_that_stands_is_sound",
)
"""What ``make test`` runs, which takes minutes and no more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to ``make e2e`` what takes longer than ``make test`` may."""
    for item in items:
        if not EXTENT and item.path.parent == FOLDER and item.name not in FIRST and not missing():
            item.add_marker(pytest.mark.skip(reason="`make e2e` runs it"))


class MakeLab:
    """Makes labs: ``make_lab("pve1", "pve2")`` names the hosts of a rack of its own."""

    def __init__(self, folder: Path, number: int, stack: ExitStack) -> None:
        self._folder = folder
        self._number = number
        self._stack = stack
        self.labs: list[Lab] = []
        """Those that were made."""

    def __call__(self, *hosts: str) -> Lab:
        """A stack that has its rack for itself."""
        endpoints = self._stack.enter_context(rack(*hosts))
        return self._made(Lab(self._folder, self._number, endpoints, "lab", hosts))

    def beside(self, lab: Lab, name: str) -> Lab:
        """A second stack on the rack of the first, of the same engine."""
        hosts = lab.config["ephemeral-castle:proxmox"]["hosts"]
        return self._made(Lab(self._folder, self._number + 20, lab.endpoints, name, hosts))

    def _made(self, lab: Lab) -> Lab:
        self._stack.callback(lab.close)
        self.labs.append(lab)
        return lab


_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a scenario passed, for what comes after it."""
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    return report


@pytest.fixture
def make_lab(worker_id: str, request: pytest.FixtureRequest) -> Iterator[MakeLab]:
    """Make a lab."""
    number = 40 + int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 40
    with ExitStack() as stack:
        # Not pytest's own folder: its path is too long for the sockets below.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make = MakeLab(folder, number, stack)
        yield make
        assert [leak for lab in make.labs for leak in lab.leaks()] == []
        if request.node.stash.get(_PASSED, False):
            assert [process for lab in make.labs for process in lab.left_behind()] == []
