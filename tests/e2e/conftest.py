"""A lab for each test, on loopback networks that no other test process has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.lab import Lab, rack

FULL = os.environ.get("CASTLE_E2E") == "full"
"""Whether to take the whole sweeps instead of samples: hours instead of minutes."""


class MakeLab:
    """Makes labs: ``make_lab("pve1", "pve2")`` names the hosts of a rack of its own."""

    def __init__(self, folder: Path, number: int, stack: ExitStack) -> None:
        self._folder = folder
        self._number = number
        self._stack = stack
        self.labs: list[Lab] = []
        """Those that were made."""

    def __call__(self, *hosts: str) -> Lab:
        """A castle, and a rack that nobody else is on."""
        endpoints = self._stack.enter_context(rack(*hosts))
        return self._made(Lab(self._folder, self._number, endpoints, "lab", hosts))

    def beside(self, lab: Lab, name: str) -> Lab:
        """A second castle on the rack of the first, as another stack of the same engine."""
        hosts = lab.config["ephemeral-castle:proxmox"]["hosts"]
        return self._made(Lab(self._folder, self._number + 20, lab.endpoints, name, hosts))

    def _made(self, lab: Lab) -> Lab:
        self._stack.callback(lab.close)
        self.labs.append(lab)
        return lab


@pytest.fixture
def make_lab(worker_id: str) -> Iterator[MakeLab]:
    """Make a lab."""
    number = 40 + int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 40
    with ExitStack() as stack:
        # Not pytest's own folder: its path is too long for the sockets below.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make = MakeLab(folder, number, stack)
        yield make
        assert [leak for lab in make.labs for leak in lab.leaks()] == []
