"""What a person reads last of an ``up`` that failed: which resource, and why."""

from __future__ import annotations

import json

from clients.pulumi_cli import failures

PREFIX = "urn:pulumi:homelab::ephemeral-castle::"
STACK = f"{PREFIX}pulumi:pulumi:Stack::ephemeral-castle-homelab"
FILE = f"{PREFIX}ephemeral-castle:index:TalosImage$proxmoxve:download:File::image-pve"


def said(urn: str, message: str, severity: str = "error") -> str:
    event = {"urn": urn, "message": message, "severity": severity, "color": "raw"}
    return json.dumps({"timestamp": 1, "diagnosticEvent": event})


def told(*lines: str) -> list[str]:
    return list(failures.told("\n".join(lines)))


def test_each_resource_is_told_once_with_its_last_word() -> None:
    _, head, one, last = told(
        said(FILE, "[ERROR] HTTP 500: no space"),
        said(FILE, "<{%reset%}>error: no space\n  left on device<{%reset%}>\n"),
        said(STACK, "update failed"),
        said(STACK, "Traceback (most recent call last):\n  File ..."),
    )
    assert head == "What failed:"
    assert one == "  - image-pve (proxmoxve:download:File): no space left on device"
    assert "make up" in last and "make down" in last


def test_warnings_and_the_programs_own_words_are_no_failures() -> None:
    assert told(said(FILE, "slow", "warning"), said(STACK, "Program failed"), said("", "no")) == []


def test_a_message_without_end_is_cut() -> None:
    lines = told(said(FILE, "word " * 1000))
    assert sum(map(len, lines)) < 2 * failures.LONGEST
    assert all(len(line) <= failures.WIDTH for line in lines)
    assert lines[-2].endswith("…")


def test_our_own_resources_speak_for_themselves() -> None:
    urn = f"{PREFIX}ephemeral-castle:index:TalosCluster$pulumi-python:castle:NodeReady::ready-cp-1"
    lines = told(said(urn, "Exception calling application: the node is not ready"))
    assert lines[2] == "  - ready-cp-1 (pulumi-python:castle:NodeReady): the node is not ready"
