"""A report has the settings and the records of its stack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backup.acme_json import Certificate
from clients.pulumi_cli.session import PulumiError, StackReader
from commands import acme_record, last_up
from commands.acme_record import Signed
from rehearsal.run import Rehearsal
from report import gather
from report.model import as_json
from settings.project import STATE
from tests.report.certificates import NOW, state_of
from tests.report.conftest import MakeReport
from tests.report.test_timeline import an_up


def test_totals_are_sums_over_all_vms(make_report: MakeReport, homelab: Rehearsal) -> None:
    totals = make_report(homelab).totals
    assert (totals.control_planes, totals.workers, totals.hosts) == (1, 3, 1)
    assert totals.cores == 2 + 3 * 4
    assert totals.memory_mib == 4096 + 3 * 8192
    assert totals.disk_gib == 34 + 3 * (34 + 43)
    assert totals.resources == len(homelab.recording.resources)


def test_hosts_add_up_to_the_totals(make_report: MakeReport, any_stack: Rehearsal) -> None:
    report = make_report(any_stack)
    machines = [machine for host in report.hosts for machine in host.machines]
    assert {machine.name for machine in machines} == {
        node.name for node in any_stack.settings.machines
    }
    assert sum(host.memory_mib for host in report.hosts) == report.totals.memory_mib
    assert sum(machine.cores for machine in machines) == report.totals.cores
    assert report.totals.control_planes + report.totals.workers == len(machines)


def test_the_report_reads_the_record_of_the_last_up(
    homelab: Rehearsal, make_report: MakeReport, tmp_path: Path
) -> None:
    (tmp_path / STATE).mkdir()
    up = an_up(homelab)
    record = {
        "begun": up.begun,
        "seconds": 96,
        "succeeded": False,
        "operations": [vars(operation) for operation in up.operations],
    }
    last_up.file(tmp_path, "homelab").write_text(json.dumps(record))
    assert make_report(homelab).timeline.seconds == 96


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"operations": [{}]}'])
def test_an_invalid_record_counts_as_no_record(text: str, tmp_path: Path) -> None:
    (tmp_path / STATE).mkdir()
    last_up.file(tmp_path, "homelab").write_text(text)
    assert last_up.load(tmp_path, "homelab") is None


def test_a_state_that_cannot_be_read_gives_the_reason(
    homelab: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: StackReader) -> None:
        raise PulumiError("pulumi stack export", "homelab", "the disk is on fire")

    monkeypatch.setattr(StackReader, "resources", fail)
    assert gather.build_report(homelab, tmp_path).certificates.reason == (
        "the state cannot be read: the disk is on fire"
    )


def test_json_has_the_whole_report(make_report: MakeReport, homelab: Rehearsal) -> None:
    report = make_report(homelab)
    numbers = json.loads(json.dumps(as_json(report)))
    assert numbers["made"] == report.made.isoformat()
    assert len(numbers["timeline"]["bars"]) == len(report.timeline.bars)
    assert numbers["hosts"][0]["machines"][1]["data_disk_gib"] == 43


def test_the_report_reads_the_record_of_site_certificates(
    homelab: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StackReader, "resources", lambda _: state_of(days=300)[0])
    signed = Signed(server="staging", certificate=Certificate(("tazlab.net",), NOW, NOW))
    acme_record.keep(tmp_path, "homelab", [signed])
    names = [one.name for one in gather.build_report(homelab, tmp_path).certificates.found]
    assert names.count("tazlab.net") == 1 and len(names) == 7
