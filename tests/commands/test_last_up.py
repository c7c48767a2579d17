"""The record of the last ``up``: URNs, operations and times, and nothing else of the event log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import last_up
from commands.last_up import Operation

START = 1_795_258_445
PREFIX = "urn:pulumi:homelab::ephemeral-castle::"
KEY = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCg=="


def event(at: int, kind: str, op: str, name: str, **more: Any) -> str:
    metadata = {"op": op, "urn": f"{PREFIX}a:b:C::{name}", "new": {"custom": True}}
    return json.dumps({"timestamp": START + at, kind: {"metadata": metadata | more}})


def began(at: int, name: str, op: str = "create", **more: Any) -> str:
    return event(at, "resourcePreEvent", op, name, **more)


def ended(at: int, name: str, op: str = "create", **more: Any) -> str:
    return event(at, "resOutputsEvent", op, name, **more)


def failed(at: int, name: str, op: str = "create") -> str:
    return event(at, "resOpFailedEvent", op, name)


def summary(at: int, result: str = "succeeded") -> str:
    return json.dumps({"timestamp": START + at, "summaryEvent": {"result": result}})


def log(*lines: str) -> str:
    first = json.dumps({"timestamp": START, "preludeEvent": {"config": {"key": KEY}}})
    message = {"message": f"client-key-data: {KEY}", "severity": "debug"}
    return "\n".join([first, json.dumps({"timestamp": START, "diagnosticEvent": message}), *lines])


def operations(*lines: str) -> list[tuple[str, str, int, int, bool]]:
    found = last_up.parse_log(log(*lines))
    assert found is not None
    return [
        (o.urn.rpartition("::")[2], o.operation, o.start, o.end, o.failed) for o in found.operations
    ]


def test_each_operation_has_start_and_end() -> None:
    assert operations(
        began(1, "image"),
        began(2, "pool"),
        ended(3, "pool"),
        ended(60, "image"),
        began(60, "vm", "update"),
        ended(61, "vm", "update"),
        summary(62),
    ) == [
        ("image", "create", 1, 60, False),
        ("pool", "create", 2, 3, False),
        ("vm", "update", 60, 61, False),
    ]


def test_the_up_has_start_duration_and_result() -> None:
    found = last_up.parse_log(log(began(1, "image"), ended(60, "image"), summary(62)))
    assert found is not None
    assert (found.begun, found.seconds, found.succeeded) == (START, 62, True)
    assert found.when.isoformat() == "2026-11-21T10:54:05+00:00"


def test_failed_and_interrupted_operations_are_marked_as_failed() -> None:
    lines = (began(1, "image"), began(2, "pool"), failed(9, "image"), summary(10, "failed"))
    assert operations(*lines) == [("image", "create", 1, 9, True), ("pool", "create", 2, 10, True)]
    found = last_up.parse_log(log(*lines))
    assert found is not None and not found.succeeded


def test_a_truncated_log_is_read_up_to_its_last_complete_line() -> None:
    assert operations(began(1, "image"), '{"timestamp": 17952') == [("image", "create", 1, 1, True)]


def test_a_replacement_is_recorded_as_its_create_and_its_delete() -> None:
    assert operations(
        began(1, "image", "create-replacement"),
        ended(5, "image", "create-replacement"),
        began(5, "image", "replace"),
        ended(5, "image", "replace"),
        began(6, "image", "delete-replaced"),
        ended(7, "image", "delete-replaced"),
    ) == [("image", "create-replacement", 1, 5, False), ("image", "delete-replaced", 6, 7, False)]


@pytest.mark.parametrize(
    "lines",
    [
        (began(1, "image", "same"), ended(1, "image", "same"), summary(2)),
        (began(1, "image", new={"custom": False}), ended(9, "image", new={"custom": False})),
        (event(1, "resourcePreEvent", "read", "image"),),
        (),
    ],
    ids=["unchanged", "component", "read", "empty"],
)
def test_an_up_without_changes_gives_no_record(lines: tuple[str, ...]) -> None:
    assert last_up.parse_log(log(*lines)) is None


def test_a_preview_gives_no_record() -> None:
    planned = json.loads(began(1, "image"))
    planned["resourcePreEvent"]["planning"] = True
    assert last_up.parse_log(log(json.dumps(planned))) is None


def test_a_saved_record_can_be_loaded_and_contains_no_secret(tmp_path: Path) -> None:
    last_up.save_record(log(began(1, "image"), ended(9, "image"), summary(9)), tmp_path, "homelab")
    record = last_up.file(tmp_path, "homelab")
    assert KEY not in record.read_text()
    found = last_up.load(tmp_path, "homelab")
    assert found is not None
    urn = f"{PREFIX}a:b:C::image"
    assert found.operations == (
        Operation(urn=urn, operation="create", start=1, end=9, failed=False),
    )

    # A later `up` without changes does not replace the record.
    last_up.save_record(log(summary(1)), tmp_path, "homelab")
    assert last_up.load(tmp_path, "homelab") == found
    assert last_up.load(tmp_path, "ha") is None


def test_an_empty_log_writes_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last_up.save_record("", tmp_path, "homelab")
    assert last_up.load(tmp_path, "homelab") is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "line",
    [
        '{"timestamp": 1, "resourcePreEvent": {}}',
        '{"timestamp": "now", "resourcePreEvent": {"metadata": {"op": "create", "urn": 1}}}',
        '{"timestamp": 1, "summaryEvent": 7}',
    ],
)
def test_unexpected_events_are_reported_in_one_line(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last_up.save_record(log(line), tmp_path, "homelab")
    out = capsys.readouterr().out
    assert out == "" or out.startswith("The operation times for `make report` could not be saved")
    assert last_up.load(tmp_path, "homelab") is None
