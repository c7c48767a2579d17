"""Findings in special cases: shared storage, silent devices, and DNS."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from doctor.address_probe import Presence
from doctor.checks import proxmox_storages
from doctor.findings import Finding, Result
from tests.doctor.homelab import FakeHomelab
from tests.doctor.test_all_checks import MAC, change, host, refuse
from tests.e2e.rack.proxmox.model import GIB


async def findings_of(homelab: FakeHomelab, check: str) -> list[Finding]:
    """The findings of one check."""
    (found,) = [it for it in await homelab.collect_findings() if it.check == check]
    return list(found.findings)


async def test_the_space_of_a_shared_storage_counts_once_for_all_hosts(
    homelab: FakeHomelab,
) -> None:
    for name in ("pve1", "pve2"):
        disks = homelab.rack.proxmox.cluster.node(name).storage("local-lvm")
        # Enough for the VMs of one host, but not for the VMs of both hosts.
        disks.shared, disks.kind, disks.total = True, "lvm", 200 * GIB
    ((check, finding),) = await homelab.warnings_and_failures()
    assert check == "storages"
    assert finding.text.startswith("(shared by all hosts) has 200 GiB free")
    assert "may grow by 265 GiB" in finding.text


async def test_a_shared_storage_needs_space_for_one_image_per_host(homelab: FakeHomelab) -> None:
    for name in ("pve1", "pve2"):
        images = homelab.rack.proxmox.cluster.node(name).storage("local")
        images.shared, images.total = True, proxmox_storages.MAX_IMAGE_SIZE * 3 // 2
    ((check, finding),) = await homelab.warnings_and_failures()
    assert check == "storages" and "and Talos images may need" in finding.text


async def test_the_space_of_a_local_storage_counts_on_each_host(homelab: FakeHomelab) -> None:
    change(homelab, "local-lvm", kind="lvm", total=160 * GIB)
    assert await homelab.warnings_and_failures() == []


async def test_a_retained_disk_needs_no_more_space(homelab: FakeHomelab) -> None:
    async def growth() -> int:
        (text,) = (
            it.text for it in await findings_of(homelab, "storages") if "pve2 has" in it.text
        )
        return int(text.rpartition("by ")[2].partition(" GiB")[0])

    homelab.set("nodes.workers.keep_data_disk_on_destroy", True)
    before = await growth()
    settings = homelab.settings
    node = next(it for it in settings.workers if it.host == "pve2")
    homelab.rack.proxmox.cluster.add_foreign(
        node.vm_id + 100_000,
        node="pve2",
        config={"name": f"{node.name}-data", "tags": f"{settings.stack_tag}-data"},
    )
    assert await growth() == before - 43


async def test_an_inactive_bridge_is_a_warning(homelab: FakeHomelab) -> None:
    host(homelab, bridges_active=False)
    ((check, finding),) = await homelab.warnings_and_failures()
    assert (check, finding.result) == ("bridge", Result.WARNING)
    assert finding.fix.endswith("ifup vmbr0")


@pytest.mark.parametrize(
    ("presence", "result"),
    [
        (Presence("it answers a ping", "", on_link=False), Result.OK),
        (Presence("", MAC, on_link=True), Result.OK),
        (Presence("", "", on_link=False), Result.NOTE),
        (Presence("", "", on_link=True), Result.FAILURE),
    ],
    ids=["answers", "found by ARP", "silent in another network", "not found by ARP"],
)
async def test_a_silent_gateway_is_a_failure_only_in_this_machines_network(
    homelab: FakeHomelab, presence: Presence, result: Result
) -> None:
    homelab.devices[homelab.address(1)] = presence
    (finding,) = await findings_of(homelab, "gateway")
    assert finding.result is result


async def test_silent_addresses_are_free_only_in_this_machines_network(
    homelab: FakeHomelab,
) -> None:
    for last in (240, 241, 242, 243, 244, 245, 250, 253, 155, 156, 157):
        homelab.devices[homelab.address(last)] = Presence(on_link=True)
    (finding,) = await findings_of(homelab, "addresses")
    text = "are free or used by this stack (11 addresses)"
    assert (finding.result, finding.text) == (Result.OK, text)
    homelab.devices[homelab.address(157)] = Presence(on_link=False)
    (finding,) = await findings_of(homelab, "addresses")
    assert finding.result is Result.NOTE and "ip neigh show" in finding.fix


async def test_only_64_addresses_of_a_large_pool_are_checked(homelab: FakeHomelab) -> None:
    below = homelab.prefix.rpartition(".")[0]
    homelab.set("network.cidr", f"{below}.0.0/16")
    homelab.set("metallb.pool", f"{below}.200.0-{below}.215.255")
    homelab.set("traefik.address", f"{below}.200.9")
    found = await findings_of(homelab, "addresses")
    assert any("only its first 64 addresses are checked" in finding.text for finding in found)
    assert all(finding.result is Result.NOTE for finding in found)


async def test_a_path_that_the_token_may_not_read_is_only_a_note(homelab: FakeHomelab) -> None:
    refuse(homelab, "/nodes/pve1/status", 403, "Permission check failed")
    assert await homelab.warnings_and_failures() == []
    (finding,) = await findings_of(homelab, "hosts")
    assert finding.result is Result.NOTE
    assert "the token may not read /nodes/pve1/status" in finding.text


async def test_an_unexpected_answer_of_proxmox_is_a_warning(homelab: FakeHomelab) -> None:
    refuse(homelab, "/nodes/pve1/status", 500, "out of paper")
    ((check, finding),) = await homelab.warnings_and_failures()
    assert (check, finding.result) == ("hosts", Result.WARNING)
    assert "out of paper" in finding.text


async def test_an_unclear_answer_about_the_factory_is_a_warning(homelab: FakeHomelab) -> None:
    refuse(homelab, "/nodes/pve1/query-url-metadata", 500, "got timeout")
    ((check, finding),) = await homelab.warnings_and_failures()
    assert (check, finding.result) == ("Image Factory from the hosts", Result.WARNING)


@pytest.mark.parametrize(
    ("name", "addresses", "text", "fix"),
    [
        ("castle.home.arpa", [], "is not a public name", ""),
        ("tazlab.net", ["8.8.4.4"], "resolves to 8.8.4.4", "compare 8.8.4.4 with the router's"),
    ],
)
async def test_a_site_name_that_this_machine_cannot_judge_is_a_note(
    homelab: FakeHomelab, name: str, addresses: list[str], text: str, fix: str
) -> None:
    homelab.set("whoami.host", name)
    homelab.names = {name: [IPv4Address(address) for address in addresses]}
    (finding,) = await findings_of(homelab, "DNS")
    assert finding.result is Result.NOTE and text in finding.text and fix in finding.fix


async def test_a_name_that_resolves_to_the_ingress_address_is_a_note(homelab: FakeHomelab) -> None:
    homelab.names["tazlab.net"] = [homelab.address(240)]
    (finding,) = await findings_of(homelab, "DNS")
    assert finding.result is Result.NOTE and "on this machine" in finding.text


@pytest.mark.parametrize("address", ["fd12::1", "64:ff9b::102:304", "fe80::1"])
async def test_an_ipv6_address_that_is_not_in_the_public_dns_is_not_reported(
    homelab: FakeHomelab, address: str
) -> None:
    homelab.ipv6_names["tazlab.net"] = [IPv6Address(address)]
    (finding,) = await findings_of(homelab, "DNS")
    assert finding.result is Result.NOTE and "IPv6" not in finding.text


DNS_01 = {"provider": "desec", "credentials": {"DESEC_TOKEN": "abc"}}


@pytest.mark.parametrize(
    ("addresses", "result", "text"),
    [
        (["192.168.7.240"], Result.OK, "resolves to 192.168.7.240; Let's Encrypt uses DNS-01"),
        ([], Result.WARNING, "has no address in the DNS"),
    ],
)
async def test_with_dns_01_the_name_may_have_any_address(
    homelab: FakeHomelab, addresses: list[str], result: Result, text: str
) -> None:
    homelab.set("traefik.acme.dns", DNS_01)
    homelab.names = {"tazlab.net": [IPv4Address(address) for address in addresses]}
    (finding,) = await findings_of(homelab, "DNS")
    assert finding.result is result and text in finding.text


async def test_with_dns_01_an_ipv6_address_does_not_matter_if_there_is_an_ipv4_address(
    homelab: FakeHomelab,
) -> None:
    homelab.set("traefik.acme.dns", DNS_01)
    homelab.ipv6_names["tazlab.net"] = [IPv6Address("2a00::1")]
    (finding,) = await findings_of(homelab, "DNS")
    assert finding.result is Result.OK
    homelab.names.clear()
    (finding,) = await findings_of(homelab, "DNS")
    assert finding.result is Result.WARNING and "has only IPv6 addresses" in finding.text


async def test_a_missing_pulumi_cli_is_a_note(homelab: FakeHomelab) -> None:
    homelab.cli = ""
    (finding,) = await findings_of(homelab, "tools")
    assert finding.result is Result.NOTE and "installs v3.259.0" in finding.text
