"""A lab for each test, on a loopback network that no other test process has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.lab import Lab, rack

MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(worker_id: str) -> Iterator[MakeLab]:
    """Make a lab: ``make_lab("pve1", "pve2")`` names the hosts of its rack."""
    number = 40 + int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 40
    with ExitStack() as stack:
        # Not pytest's own folder: its path is too long for the sockets below.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def make(*hosts: str) -> Lab:
            endpoints = stack.enter_context(rack(*hosts))
            lab = Lab(folder, number, endpoints, "lab", hosts)
            stack.callback(lab.close)
            return lab

        yield make
