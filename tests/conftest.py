"""Distributes the tests to the processes of ``pytest -n 2 --dist loadgroup``, and keeps them from
other computers."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

import pytest

from settings.project import PROJECT_FOLDER

TESTS = PROJECT_FOLDER / "tests"
GROUPS = {
    "rack": "rack",
    "invariants": "rehearsals",
    "rehearsal": "rehearsals",
    "report": "rehearsals",
}
"""By folder: tests that run in the same process. Only one rack can run at a time, because racks
have the same addresses. Tests of rehearsals share their results (``rehearsals.py``)."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Add the group of the test's folder."""
    folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    if folder in GROUPS:
        item.add_marker(pytest.mark.xdist_group(GROUPS[folder]))


def pytest_configure() -> None:
    """Refuse connections to other computers: the stack files of the tests name real addresses."""
    sys.addaudithook(_refuse_connection)


def _refuse_connection(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto") or not isinstance(arguments[1], tuple):
        return
    host = arguments[1][0]
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local:
        # Not an OSError, which the program would report as a server that does not answer.
        raise RuntimeError(f"a test connects to {host}, which is not this computer")
