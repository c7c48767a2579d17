"""The timeline of the report, and its rows on the page."""

from __future__ import annotations

from datetime import UTC, datetime

from commands.last_up import LastUp, Operation
from rehearsal.run import Rehearsal
from report import timeline
from tests.report.conftest import MakeReport


def test_without_an_up_the_timeline_is_that_of_the_rehearsal(
    make_report: MakeReport, homelab: Rehearsal
) -> None:
    shown = make_report(homelab).timeline
    assert (shown.source, shown.begun) == ("rehearsal", None)
    assert shown.seconds == max(resource.end for resource in homelab.recording.resources)
    assert {bar.name for bar in shown.bars if bar.critical} >= {"image-pve", "longhorn-release"}
    assert not any(bar.critical for bar in shown.bars if bar.name == "metallb-release")


def an_up(homelab: Rehearsal) -> LastUp:
    """An ``up`` in which MetalLB took the longest time and one resource was deleted."""
    took = {"image-pve": (0, 9), "longhorn-release": (10, 20), "metallb-release": (10, 90)}
    urns = {resource.name: resource.urn for resource in homelab.recording.resources}
    operations = [
        Operation(urn=urns[name], operation="create", start=start, end=end, failed=False)
        for name, (start, end) in took.items()
    ]
    gone = urns["whoami-service"].replace("whoami-service", "whoami-gone")
    operations.append(Operation(urn=gone, operation="delete", start=90, end=95, failed=True))
    return LastUp(begun=1_795_258_445, seconds=96, succeeded=False, operations=tuple(operations))


def test_the_critical_path_of_an_up_has_the_longest_operation(homelab: Rehearsal) -> None:
    shown = timeline.build_timeline(homelab.recording, an_up(homelab))
    assert (shown.source, shown.seconds, shown.succeeded) == ("last up", 96, False)
    assert shown.begun == datetime(2026, 11, 21, 10, 54, 5, tzinfo=UTC)
    assert [bar.name for bar in shown.bars if bar.critical] == ["image-pve", "metallb-release"]
    gone = shown.bars[-1]
    assert (gone.name, gone.component, gone.operation) == (
        "whoami-gone",
        "no longer in the program",
        "delete",
    )
    assert gone.failed


def test_the_timeline_of_an_up_does_not_change_the_rehearsal(homelab: Rehearsal) -> None:
    before = [(r.start, r.end) for r in homelab.recording.resources]
    timeline.build_timeline(homelab.recording, an_up(homelab))
    assert [(r.start, r.end) for r in homelab.recording.resources] == before
