"""What the doctor says where there is no fault: shared storages, silence, and reminders."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from doctor import storages
from doctor.findings import Finding, Result
from doctor.presence import Presence
from tests.doctor.house import FakeHomelab
from tests.doctor.test_faults import MAC, change, host, refuse
from tests.e2e.rack.proxmox.model import GIB


async def told(house: FakeHomelab, check: str) -> list[Finding]:
    """What one check says."""
    (found,) = [one for one in await house.examine() if one.check == check]
    return list(found.findings)


async def test_a_shared_storage_has_its_room_only_once(house: FakeHomelab) -> None:
    for name in ("pve1", "pve2"):
        disks = house.rack.proxmox.cluster.node(name).storage("local-lvm")
        # Enough for the machines of one host, not for those of both.
        disks.shared, disks.kind, disks.total = True, "lvm", 200 * GIB
    ((check, finding),) = await house.troubles()
    assert check == "storages"
    assert finding.text.startswith("for all hosts has 200 GiB free")
    assert "may grow by 265 GiB" in finding.text


async def test_on_a_shared_storage_each_host_has_an_image_of_its_own(house: FakeHomelab) -> None:
    for name in ("pve1", "pve2"):
        images = house.rack.proxmox.cluster.node(name).storage("local")
        images.shared, images.total = True, storages.IMAGE_SIZE * 3 // 2
    ((check, finding),) = await house.troubles()
    assert check == "storages" and "and Talos images may take" in finding.text


async def test_a_storage_of_one_host_has_its_room_on_each(house: FakeHomelab) -> None:
    change(house, "local-lvm", kind="lvm", total=160 * GIB)
    assert await house.troubles() == []


async def test_a_disk_that_was_kept_needs_no_room_again(house: FakeHomelab) -> None:
    async def growth() -> int:
        (text,) = (it.text for it in await told(house, "storages") if "pve2 has" in it.text)
        return int(text.rpartition("by ")[2].partition(" GiB")[0])

    house.set("nodes.workers.keep_data_disk_on_destroy", True)
    before = await growth()
    settings = house.settings
    node = next(it for it in settings.workers if it.host == "pve2")
    house.rack.proxmox.cluster.add_foreign(
        node.vm_id + 100_000,
        node="pve2",
        config={"name": f"{node.name}-data", "tags": f"{settings.stack_tag}-data"},
    )
    assert await growth() == before - 43


async def test_a_bridge_that_is_down_is_a_warning(house: FakeHomelab) -> None:
    host(house, bridges_active=False)
    ((check, finding),) = await house.troubles()
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
    ids=["answers", "is known by ARP", "silent elsewhere", "nobody in this network"],
)
async def test_a_silent_gateway_is_a_failure_only_where_nobody_can_hide(
    house: FakeHomelab, presence: Presence, result: Result
) -> None:
    house.seen[house.address(1)] = presence
    (finding,) = await told(house, "gateway")
    assert finding.result is result


async def test_in_the_castles_own_network_silence_is_an_answer(house: FakeHomelab) -> None:
    for last in (240, 241, 242, 243, 244, 245, 250, 253, 155, 156, 157):
        house.seen[house.address(last)] = Presence(on_link=True)
    (finding,) = await told(house, "addresses")
    assert (finding.result, finding.text) == (Result.OK, "are free, or ours (11 addresses)")
    house.seen[house.address(157)] = Presence(on_link=False)
    (finding,) = await told(house, "addresses")
    assert finding.result is Result.NOTE and "arping -D -c 2 -I vmbr0" in finding.fix


async def test_a_large_pool_is_looked_at_as_far_as_it_makes_sense(house: FakeHomelab) -> None:
    below = house.prefix.rpartition(".")[0]
    house.set("network.cidr", f"{below}.0.0/16")
    house.set("metallb.pool", f"{below}.200.0-{below}.215.255")
    house.set("traefik.address", f"{below}.200.9")
    found = await told(house, "addresses")
    assert any("its first 64 addresses are looked at" in finding.text for finding in found)
    assert all(finding.result is Result.NOTE for finding in found)


async def test_what_the_token_may_not_read_is_told_of_once(house: FakeHomelab) -> None:
    refuse(house, "/nodes/pve1/status", 403, "Permission check failed")
    assert await house.troubles() == []
    (finding,) = await told(house, "hosts")
    assert finding.result is Result.NOTE
    assert "the token may not read /nodes/pve1/status" in finding.text


async def test_an_answer_that_nobody_expects_is_a_warning(house: FakeHomelab) -> None:
    refuse(house, "/nodes/pve1/status", 500, "out of paper")
    ((check, finding),) = await house.troubles()
    assert (check, finding.result) == ("hosts", Result.WARNING)
    assert "out of paper" in finding.text


async def test_a_factory_that_answers_oddly_to_a_host_is_a_warning(house: FakeHomelab) -> None:
    refuse(house, "/nodes/pve1/query-url-metadata", 500, "got timeout")
    ((check, finding),) = await house.troubles()
    assert (check, finding.result) == ("Image Factory from the hosts", Result.WARNING)


@pytest.mark.parametrize(
    ("name", "public", "addresses", "result", "text"),
    [
        ("castle.home.arpa", None, [], Result.NOTE, "is not a public name"),
        ("tazlab.net", None, ["8.8.4.4"], Result.NOTE, "does not tell its public address"),
        ("tazlab.net", "8.8.4.4", ["8.8.4.4"], Result.OK, "the router's public address"),
        ("tazlab.net", "192.168.0.2", ["8.8.4.4"], Result.WARNING, "is not public"),
    ],
)
async def test_a_name_is_compared_as_far_as_can_be(
    house: FakeHomelab,
    name: str,
    public: str | None,
    addresses: list[str],
    result: Result,
    text: str,
) -> None:
    house.set("whoami.host", name)
    house.public = IPv4Address(public) if public else None
    house.names = {name: [IPv4Address(address) for address in addresses]}
    (finding,) = await told(house, "DNS")
    assert finding.result is result and text in finding.text


async def test_a_name_that_leads_to_the_ingress_at_home_is_no_alarm(house: FakeHomelab) -> None:
    house.names["tazlab.net"] = [house.address(240)]
    (finding,) = await told(house, "DNS")
    assert finding.result is Result.NOTE and "here" in finding.text


DNS_01 = {"provider": "desec", "credentials": {"DESEC_TOKEN": "abc"}}


@pytest.mark.parametrize(
    ("addresses", "result", "text"),
    [
        (["192.168.7.240"], Result.OK, "leads to 192.168.7.240; its certificate comes by the DNS"),
        ([], Result.WARNING, "has no address in the DNS"),
    ],
)
async def test_by_the_dns_nobody_outside_need_find_the_site(
    house: FakeHomelab, addresses: list[str], result: Result, text: str
) -> None:
    house.set("traefik.acme.dns", DNS_01)
    house.public = IPv4Address("100.64.0.7")  # a provider who shares one address: no port is ours
    house.names = {"tazlab.net": [IPv4Address(address) for address in addresses]}
    (finding,) = await told(house, "DNS")
    assert finding.result is result and text in finding.text
    (ports,) = await told(house, "ports")
    assert ports.result is Result.NOTE and "need not be open" in ports.text


async def test_what_only_a_person_can_see_is_said(house: FakeHomelab) -> None:
    (ports,) = await told(house, "ports")
    assert ports.result is Result.NOTE and str(house.address(240)) in ports.fix
    (dhcp,) = await told(house, "DHCP")
    assert dhcp.result is Result.NOTE and f"{house.prefix}.2-" in dhcp.text
    del house.config["ephemeral-castle:network"]["dhcp"]
    (dhcp,) = await told(house, "DHCP")
    assert dhcp.result is Result.NOTE and "is not set" in dhcp.text


async def test_without_a_cli_nothing_is_wrong_yet(house: FakeHomelab) -> None:
    house.cli = ""
    (finding,) = await told(house, "tools")
    assert finding.result is Result.NOTE and "installs v3.259.0" in finding.text
