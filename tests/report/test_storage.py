"""The section "Storage" of the page, with and without a storage record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.kubernetes.longhorn import Disk
from doctor import storage_record
from rehearsal.run import Rehearsal
from report import page
from report.model import Report, as_json
from tests.report.conftest import MakeReport
from tests.report.storage import record_of
from tests.report.test_page import NASTY, Page, at


@pytest.fixture
def recorded(make_report: MakeReport, homelab: Rehearsal, tmp_path: Path) -> Report:
    """The report of a stack whose cluster has one problem of each kind."""
    storage_record.save(tmp_path, "homelab", record_of(homelab.settings))
    return make_report(homelab)


def section(report: Report) -> str:
    """The text of the section."""
    html = page.render(report).partition('<section id="storage">')[2].partition("</section>")[0]
    return " ".join(" ".join(Page(html).texts).split())


def bars(report: Report) -> dict[str, list[tuple[str, str]]]:
    """Style and width of the parts of each bar, by the bar's ``aria-label``."""
    found: dict[str, list[tuple[str, str]]] = {}
    current = ""
    for tag, attributes in Page(page.render(report)).tags:
        if tag == "svg":
            current = attributes.get("aria-label", "")
        if tag == "rect" and "data disk" in current and attributes["class"] != "cut":
            part = (attributes["class"], attributes["width"])
            found.setdefault(current, []).append(part)
    return found


def test_without_a_record_the_page_shows_data_disks_and_the_command(
    make_report: MakeReport, homelab: Rehearsal
) -> None:
    report = make_report(homelab)
    text = section(report)
    assert "run make doctor STACK=homelab while the cluster runs" in text
    assert "castle-worker-1 On pve, data disk of 43 GiB Usable 38.6 GiB" in text
    assert "Used" not in text and "Last backup" not in text
    assert bars(report)["Usable on the data disk of castle-worker-1"] == [
        ("usable", "89.77%"),
        ("rest", "10.23%"),
    ]


def test_a_stack_without_data_disks_says_so(make_report: MakeReport, homelab: Rehearsal) -> None:
    report = make_report(homelab)
    empty = replace(report, storage=replace(report.storage, nodes=()))
    assert "No node of this stack has a data disk." in section(empty)


def test_the_bars_have_one_scale(recorded: Report) -> None:
    found = bars(recorded)
    assert len(found) == 3 * 3
    assert found["Used on the data disk of castle-worker-2"][0] == ("used", "25.58%")
    assert found["Allocated on the data disk of castle-worker-2"][0] == ("allocated", "4.65%")
    larger = replace(recorded.storage.nodes[0], data_disk_gib=86)
    nodes = (larger, *recorded.storage.nodes[1:])
    rescaled = bars(replace(recorded, storage=replace(recorded.storage, nodes=nodes)))
    assert rescaled["Used on the data disk of castle-worker-2"][0] == ("used", "12.79%")


def test_volumes_show_copies_hosts_engine_and_backup(recorded: Report) -> None:
    text = section(recorded)
    assert "as Longhorn reported it on 2026-11-21 12:00 UTC" in text
    assert (
        "database/data 1 GiB 1 of 2 pve old 2026-11-21 03:00 UTC (9 hours old) "
        "old/data released 1 GiB 2 of 2 pve current none "
        "traefik/traefik-certificates 1 GiB 2 of 2 pve current 2026-11-21 03:00 UTC (9 hours old)"
    ) in text
    assert (
        "Backup target nfs://192.168.1.5:/backups, not available : mount.nfs4: access denied"
    ) in text


def test_problems_are_those_of_the_doctor_with_their_fixes(recorded: Report) -> None:
    text = section(recorded)
    assert "3 warnings , 2 notes" in text
    assert (
        "Warning: database/data has 1 healthy copy of 2. Fix: Longhorn rebuilds copies by itself"
    ) in text
    assert "Note: backup target holds backups of 1 volume that this cluster does not have" in text
    assert "Note: 1 released volume (1.0 GiB) has no claim any more" in text


def test_the_numbers_are_those_of_json(recorded: Report) -> None:
    numbers = json.loads(json.dumps(as_json(recorded)))
    assert numbers["storage"]["recorded"] == "2026-11-21T12:00:00+00:00"
    values = {
        path: value
        for path, value in Page(page.render(recorded)).values.items()
        if path.startswith("storage.")
    }
    assert values["storage.nodes.1.used_gib"] == ("11.0", "11 GiB")
    assert {"storage.volumes.0.healthy_copies", "storage.nodes.2.usable_gib"} <= set(values)
    for path, (value, _) in values.items():
        assert value == str(at(numbers, path))


def test_a_node_that_is_missing_in_the_record_has_no_used_space(
    make_report: MakeReport, homelab: Rehearsal, tmp_path: Path
) -> None:
    record = record_of(homelab.settings)
    disks: list[Disk] = list(record.storage.disks)[1:]
    storage_record.save(
        tmp_path, "homelab", replace(record, storage=replace(record.storage, disks=disks))
    )
    report = make_report(homelab)
    assert [node.used_gib for node in report.storage.nodes] == [None, 11.0, 17.0]
    assert "castle-worker-1 has no disk in Longhorn yet" in section(report)


def test_html_in_names_is_escaped(recorded: Report) -> None:
    volume: Any = replace(recorded.storage.volumes[0], claim=NASTY, hosts=(NASTY,))
    storage = replace(recorded.storage, volumes=(volume,))
    found = Page(page.render(replace(recorded, storage=storage)))
    assert "script" not in {tag for tag, _ in found.tags}
    assert NASTY in found.texts
