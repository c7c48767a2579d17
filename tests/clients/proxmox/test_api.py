"""A task of Proxmox is waited for to its end, and its failure is told in Proxmox' words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clients.proxmox import api as proxmox_api

UPID = "UPID:pve2:00001000:0:0:qmreboot:8010:root@pam!castle:"
RUNNING = {"status": "running"}


def told(asked: list[str], *answers: dict[str, Any]) -> Callable[[str], Any]:
    """A caller that answers in turn."""
    left = list(answers)

    def call(path: str) -> Any:
        asked.append(path)
        return left.pop(0) if len(left) > 1 else left[0]

    return call


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxmox_api, "_POLL", 0)


@pytest.mark.parametrize(
    ("ended", "failure"),
    [
        ({"exitstatus": "OK"}, ""),
        ({"exitstatus": "WARNINGS: 1"}, ""),
        ({}, ""),
        ({"exitstatus": "VM quit/powerdown failed"}, "VM quit/powerdown failed"),
    ],
)
def test_a_task_is_waited_for_where_it_runs(ended: dict[str, str], failure: str) -> None:
    asked: list[str] = []
    call = told(asked, RUNNING, RUNNING, {"status": "stopped", **ended})
    assert proxmox_api.wait_for(call, UPID, 60) == failure
    assert len(asked) == 3
    assert set(asked) == {
        "/nodes/pve2/tasks/UPID%3Apve2%3A00001000%3A0%3A0%3Aqmreboot%3A8010%3Aroot%40pam%21castle%3A/status"
    }


@pytest.mark.parametrize(("in_a_row", "borne"), [(2, True), (3, False)])
def test_single_looks_that_fail_are_borne(in_a_row: int, borne: bool) -> None:
    asked: list[str] = []
    answers = told(asked, RUNNING, {"status": "stopped", "exitstatus": "OK"})

    def call(path: str) -> Any:
        if (len(asked) + 1) % (in_a_row + 1):
            asked.append(path)
            raise TimeoutError("timed out")
        return answers(path)

    if borne:
        assert proxmox_api.wait_for(call, UPID, 60) == ""
        assert len(asked) == 2 * in_a_row + 2
    else:
        with pytest.raises(TimeoutError, match="timed out"):
            proxmox_api.wait_for(call, UPID, 60)


def test_a_task_without_end_is_given_up() -> None:
    with pytest.raises(TimeoutError, match="has not finished after 0 s"):
        proxmox_api.wait_for(told([], RUNNING), UPID, 0)
