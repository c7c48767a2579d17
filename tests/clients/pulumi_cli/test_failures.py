"""The summary at the end of a failed ``up``: resources and errors."""

from __future__ import annotations

import json

from clients.pulumi_cli import failures

PREFIX = "urn:pulumi:homelab::ephemeral-castle::"
STACK = f"{PREFIX}pulumi:pulumi:Stack::ephemeral-castle-homelab"
FILE = f"{PREFIX}ephemeral-castle:index:TalosImage$proxmoxve:download:File::image-pve"


def event(urn: str, message: str, severity: str = "error") -> str:
    diagnostic = {"urn": urn, "message": message, "severity": severity, "color": "raw"}
    return json.dumps({"timestamp": 1, "diagnosticEvent": diagnostic})


def summary(*events: str) -> list[str]:
    return list(failures.told("\n".join(events)))


def test_each_failed_resource_is_listed_once_with_its_last_error() -> None:
    _, head, one, last = summary(
        event(FILE, "[ERROR] HTTP 500: no space"),
        event(FILE, "<{%reset%}>error: no space\n  left on device<{%reset%}>\n"),
        event(STACK, "update failed"),
        event(STACK, "Traceback (most recent call last):\n  File ..."),
    )
    assert head == "What failed:"
    assert one == "  - image-pve (proxmoxve:download:File): no space left on device"
    assert "make up" in last and "make down" in last


def test_warnings_and_errors_of_the_program_are_not_listed() -> None:
    assert (
        summary(event(FILE, "slow", "warning"), event(STACK, "Program failed"), event("", "no"))
        == []
    )


def test_a_long_message_is_shortened() -> None:
    lines = summary(event(FILE, "word " * 1000))
    assert sum(map(len, lines)) < 2 * failures.MAX_LENGTH
    assert all(len(line) <= failures.WIDTH for line in lines)
    assert lines[-2].endswith("…")


def test_pulumis_prefix_of_errors_of_dynamic_resources_is_removed() -> None:
    urn = f"{PREFIX}ephemeral-castle:index:TalosCluster$pulumi-python:castle:NodeReady::ready-cp-1"
    lines = summary(event(urn, "Exception calling application: the node is not ready"))
    assert lines[2] == "  - ready-cp-1 (pulumi-python:castle:NodeReady): the node is not ready"
