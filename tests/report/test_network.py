"""The network of the report has all addresses that the stack uses."""

from __future__ import annotations

from rehearsal.run import Rehearsal
from report.model import Span
from tests.rehearsal.conftest import Vary
from tests.report.conftest import MakeReport


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
