"""The wait for a Proxmox task: its end, its error, failed requests and the timeout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clients.proxmox import api as proxmox_api
from clients.proxmox.api import ProxmoxError

UPID = "UPID:pve2:00001000:0:0:qmreboot:8010:root@pam!castle:"
RUNNING = {"status": "running"}


def call_with(paths: list[str], *answers: dict[str, Any]) -> Callable[[str], Any]:
    """A fake ``call`` that records the paths and returns the answers in order."""
    remaining = list(answers)

    def call(path: str) -> Any:
        paths.append(path)
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return call


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxmox_api, "_POLL_INTERVAL_S", 0)


@pytest.mark.parametrize(
    ("end", "failure"),
    [
        ({"exitstatus": "OK"}, ""),
        ({"exitstatus": "WARNINGS: 1"}, ""),
        ({}, ""),
        ({"exitstatus": "VM quit/powerdown failed"}, "VM quit/powerdown failed"),
    ],
)
def test_a_wait_returns_the_error_of_the_task(end: dict[str, str], failure: str) -> None:
    paths: list[str] = []
    call = call_with(paths, RUNNING, RUNNING, {"status": "stopped", **end})
    assert proxmox_api.wait_for_task(call, UPID, 60) == failure
    assert len(paths) == 3
    assert set(paths) == {
        "/nodes/pve2/tasks/UPID%3Apve2%3A00001000%3A0%3A0%3Aqmreboot%3A8010%3Aroot%40pam%21castle%3A/status"
    }


@pytest.mark.parametrize(("failures", "is_tolerated"), [(2, True), (3, False)])
def test_up_to_two_consecutive_failed_requests_are_tolerated(
    failures: int, is_tolerated: bool
) -> None:
    paths: list[str] = []
    answers = call_with(paths, RUNNING, {"status": "stopped", "exitstatus": "OK"})

    def call(path: str) -> Any:
        if (len(paths) + 1) % (failures + 1):
            paths.append(path)
            raise ProxmoxError("GET /", "https://pve:8006", "timed out")
        return answers(path)

    if is_tolerated:
        assert proxmox_api.wait_for_task(call, UPID, 60) == ""
        assert len(paths) == 2 * failures + 2
    else:
        with pytest.raises(ProxmoxError, match="timed out"):
            proxmox_api.wait_for_task(call, UPID, 60)


def test_a_task_that_does_not_end_is_an_error_after_the_timeout() -> None:
    failure = proxmox_api.wait_for_task(call_with([], RUNNING), UPID, 0)
    assert failure == "it has not finished after 0 s"
