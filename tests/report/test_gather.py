"""The data of a report equals the settings, the resource graph and the records."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from backup.acme_json import Certificate
from clients.pulumi_cli import state
from commands import acme_record, last_up
from commands.acme_record import Signed
from commands.last_up import LastUp, Operation
from rehearsal import timeline as rehearsed
from rehearsal.run import Rehearsal
from report import certificates, gather, graph, timeline, versions
from report.as_json import as_json
from report.model import Span
from settings import resource_types
from settings.project import STATE
from tests.rehearsal.conftest import Vary
from tests.report.certificates import NOW, state_of
from tests.report.conftest import MakeReport


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


# The network --------------------------------------------------------------------------------------


def spans(report_of: Rehearsal, make_report: MakeReport) -> dict[str, Span]:
    return {span.name: span for span in make_report(report_of).network.spans}


def test_the_network_has_all_used_addresses(make_report: MakeReport, homelab: Rehearsal) -> None:
    found = spans(homelab, make_report)
    assert {name: (span.first, span.last, span.offset) for name, span in found.items()} == {
        "Router": ("192.168.1.1", "192.168.1.1", 1),
        "DHCP range": ("192.168.1.2", "192.168.1.120", 2),
        "Proxmox API": ("192.168.1.10", "192.168.1.10", 10),
        "worker-1 to 3": ("192.168.1.155", "192.168.1.157", 155),
        "MetalLB pool": ("192.168.1.240", "192.168.1.245", 240),
        "Ingress": ("192.168.1.240", "192.168.1.240", 240),
        "VIP": ("192.168.1.250", "192.168.1.250", 250),
        "control-plane-1": ("192.168.1.253", "192.168.1.253", 253),
    }


def test_nodes_without_consecutive_addresses_are_not_grouped(
    make_report: MakeReport,
    vary: Vary,
) -> None:
    found = spans(
        vary({"nodes.overrides": {"worker-2": {"address": "192.168.1.180"}}}), make_report
    )
    assert {"worker-1", "worker-2", "worker-3"} <= set(found)


def test_all_nodes_are_inside_the_network(make_report: MakeReport, any_stack: Rehearsal) -> None:
    network = make_report(any_stack).network
    assert all(
        0 <= span.offset < span.offset + span.count <= network.size for span in network.spans
    )
    machines = sum(span.count for span in network.spans if span.kind in ("worker", "control-plane"))
    assert machines == len(any_stack.settings.machines)


# The graph ----------------------------------------------------------------------------------------


def test_components_have_their_direct_dependencies(homelab: Rehearsal) -> None:
    needs = {it.name: it.needs for it in graph.build_components(homelab.recording, ())}
    assert needs == {
        "image": (),
        "machines": ("image",),
        "cluster": ("machines",),
        "longhorn": ("cluster",),
        "metallb": ("cluster",),
        "traefik": ("longhorn", "metallb"),
        "whoami": ("traefik",),
    }


def test_the_graph_has_all_resources(any_stack: Rehearsal) -> None:
    shown = [
        name
        for one in graph.build_components(any_stack.recording, ())
        for r in one.resources
        for name in r.names
    ]
    made = [
        resource.name
        for resource in any_stack.recording.resources
        if resource.custom
        and not resource.type.startswith("pulumi:providers:")
        and resource.type != resource_types.RECORD
    ]
    assert sorted(shown) == sorted(made)


def test_dependencies_are_in_lower_layers(any_stack: Rehearsal) -> None:
    components = {one.name: one for one in graph.build_components(any_stack.recording, ())}
    for one in components.values():
        assert all(components[need].layer < one.layer for need in one.needs)
        layers = {r.type: r.layer for r in one.resources}
        assert all(layers[need] < r.layer for r in one.resources for need in r.needs)


def test_vms_that_depend_on_each_other_are_one_group(homelab: Rehearsal) -> None:
    recording = deepcopy(homelab.recording)
    machines = list(recording.of_type("proxmoxve:index/vmLegacy:VmLegacy"))
    for before, after in pairwise(machines):
        after.dependencies = (*after.dependencies, before.urn)
    rehearsed.lay_out(recording)
    found = next(one for one in graph.build_components(recording, ()) if one.name == "machines")
    assert [(r.kind, r.layer) for r in found.resources] == [("PoolLegacy", 0), ("VmLegacy", 1)]


# The timeline -------------------------------------------------------------------------------------


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
    shown, path = timeline.of(homelab.recording, an_up(homelab))
    assert (shown.source, shown.seconds, shown.succeeded) == ("last up", 96, False)
    assert shown.begun == datetime(2026, 11, 21, 10, 54, 5, tzinfo=UTC)
    assert [bar.name for bar in shown.bars if bar.critical] == ["image-pve", "metallb-release"]
    assert [urn.rpartition("::")[2] for urn in path] == ["image-pve", "metallb-release"]
    gone = shown.bars[-1]
    assert (gone.name, gone.component, gone.operation) == (
        "whoami-gone",
        "no longer in the program",
        "delete",
    )
    assert gone.failed


def test_the_timeline_of_an_up_does_not_change_the_rehearsal(homelab: Rehearsal) -> None:
    before = [(r.start, r.end) for r in homelab.recording.resources]
    timeline.of(homelab.recording, an_up(homelab))
    assert [(r.start, r.end) for r in homelab.recording.resources] == before


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


# Versions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("talos", "kubernetes", "part", "expected"),
    [
        (
            "v1.13.9",
            "v1.36.3",
            0,
            "v1.13.x is the newest version that the Talos provider supports.",
        ),
        ("v1.13.9", "v1.36.3", 1, "v1.36.x is the newest version that Talos v1.13.9 supports."),
        (
            "v1.13.9",
            "v1.34.0",
            1,
            "Talos v1.13.9 supports up to v1.36.x: upgrade one minor version at a time.",
        ),
        ("v1.12.1", "v1.35.0", 0, "v1.13.x also fits Kubernetes v1.35.0."),
        ("v1.12.1", "v1.30.0", 0, "v1.13.x needs Kubernetes v1.31 or newer first."),
        ("v1.12.1", "v1.35.0", 1, "Newer than v1.35.x needs Talos v1.13.x first."),
    ],
)
def test_each_version_names_the_next_possible_upgrade(
    talos: str,
    kubernetes: str,
    part: int,
    expected: str,
    vary: Vary,
) -> None:
    settings = vary({"cluster.talos": talos, "cluster.kubernetes": kubernetes}).settings
    assert versions.list_versions(settings)[part].newer == expected


def test_charts_and_packages_are_in_the_versions(homelab: Rehearsal) -> None:
    found = {it.name: it for it in versions.list_versions(homelab.settings)}
    assert found["longhorn chart"].version == homelab.settings.longhorn.chart_version
    assert found["longhorn chart"].fits == "1.12.1 or newer, older than 1.13.0"
    assert {"pulumi", "pulumi-proxmoxve", "pulumiverse-talos", "pulumi-kubernetes"} <= set(found)


# Certificates -------------------------------------------------------------------------------------


def test_certificates_are_names_and_dates() -> None:
    found = certificates.find_certificates(state_of(days=300)[0], NOW).found
    assert [(one.name, one.days_left) for one in found] == [
        ("kubeconfig", 300),
        ("talosconfig", 301),
        ("Kubernetes CA", 302),
        ("Kubernetes aggregator CA", 303),
        ("etcd CA", 304),
        ("Talos CA", 305),
    ]


def test_an_expired_certificate_has_negative_days_left() -> None:
    assert certificates.find_certificates(state_of(days=-2)[0], NOW).found[0].days_left == -2


def test_a_state_without_certificates_gives_the_reason() -> None:
    assert certificates.find_certificates([], NOW).reason == "the stack has no cluster yet"
    broken = [{"type": "talos:machine/secrets:Secrets", "outputs": {"machineSecrets": "[secret]"}}]
    assert certificates.find_certificates(broken, NOW).found == ()


def test_a_state_that_cannot_be_read_gives_the_reason(
    homelab: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise state.NoStateError("the disk is on fire")

    monkeypatch.setattr(state, "resources", fail)
    assert gather.build_report(homelab, tmp_path).certificates.reason == "the disk is on fire"


# JSON ---------------------------------------------------------------------------------------------


def test_json_has_the_whole_report(make_report: MakeReport, homelab: Rehearsal) -> None:
    report = make_report(homelab)
    numbers = json.loads(json.dumps(as_json(report)))
    assert numbers["made"] == report.made.isoformat()
    assert len(numbers["timeline"]["bars"]) == len(report.timeline.bars)
    assert numbers["hosts"][0]["machines"][1]["data_disk_gib"] == 43


def test_site_certificates_are_those_of_the_acme_server_in_use() -> None:
    found = certificates.find_certificates(state_of(days=300)[0], NOW)
    ends = NOW + timedelta(days=60)
    signed = [
        Signed(server=server, certificate=Certificate((name,), NOW, ends))
        for server, name in (("production", "tazlab.net"), ("staging", "old.tazlab.net"))
    ]
    both = certificates.add_site_certificates(found, signed, "production", NOW)
    first, *rest = both.found
    assert (first.name, first.ends, first.days_left) == ("tazlab.net", ends, 60)
    assert tuple(rest) == found.found
    (site,) = set(certificates.add_site_certificates(found, signed, "staging", NOW).found) - set(
        rest
    )
    assert site.name == "old.tazlab.net" and "browsers do not trust it" in site.opens
    empty = certificates.no_certificates("the state cannot be read")
    assert certificates.add_site_certificates(empty, signed, "production", NOW) == empty


def test_the_report_reads_the_record_of_site_certificates(
    homelab: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.pulumi_cli.state.resources", lambda *_: state_of(days=300)[0])
    signed = Signed(server="staging", certificate=Certificate(("tazlab.net",), NOW, NOW))
    acme_record.keep(tmp_path, "homelab", [signed])
    names = [one.name for one in gather.build_report(homelab, tmp_path).certificates.found]
    assert names.count("tazlab.net") == 1 and len(names) == 7
