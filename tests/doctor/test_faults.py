"""The doctor on a simulated rack: a sound house, and each fault one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import pytest

from doctor.findings import Result
from doctor.presence import Presence
from doctor.privileges import CASTLE, CASTLE_IMAGES
from tests.doctor.house import FakeHomelab
from tests.e2e.rack.faults import Fault as Refusal
from tests.e2e.rack.proxmox.model import GIB, Pool, Volume

F, W = Result.FAILURE, Result.WARNING
MAC = "AA:BB:CC:DD:EE:FF"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and what must be said of it."""

    inject: Callable[[FakeHomelab], object]
    check: str
    result: Result
    text: str
    fix: str


def storage(house: FakeHomelab, name: str, host: str = "pve2") -> object:
    return house.rack.proxmox.cluster.node(host).storage(name)


def change(house: FakeHomelab, name: str, **values: object) -> None:
    """Change a storage of pve2."""
    for key, value in values.items():
        setattr(storage(house, name), key, value)


def host(house: FakeHomelab, **values: object) -> None:
    """Change pve2."""
    for key, value in values.items():
        setattr(house.rack.proxmox.cluster.node("pve2"), key, value)


def refuse(house: FakeHomelab, path: str, status: int, reason: str) -> None:
    faults = house.rack.faults
    faults.append(Refusal(method="GET", path=path, reason=reason, status=status, times=99))


def grant(house: FakeHomelab, vms: frozenset[str], images: frozenset[str]) -> None:
    access = house.rack.proxmox.access
    access.roles |= {"Castle": vms, "CastleImages": images}
    access.acl = {"/": frozenset({"Castle"}), "/storage/local": frozenset({"CastleImages"})}


ALL, IMAGES = frozenset(CASTLE.privileges), frozenset(CASTLE_IMAGES.privileges)
UNREACHABLE = "invalid server response: '500 Can't connect to factory:443 (Name not known)'"


FAULTS = {
    "Proxmox is off": Fault(
        lambda h: h.set("proxmoxve:endpoint", "https://127.0.0.1:9/"),
        "API", F, "Connection refused", "proxmoxve:endpoint",
    ),
    "its certificate is not trusted": Fault(
        lambda h: h.set("proxmoxve:insecure", False),
        "API", F, "is not trusted: unable to get local issuer", "proxmoxve:insecure: true",
    ),
    "the token is wrong": Fault(
        lambda h: h.set("proxmoxve:apiToken", "root@pam!rack=00000000-0000"),
        "API", F, "401 invalid token value!", "make token",
    ),
    "Proxmox is ill": Fault(
        lambda h: refuse(h, "/version", 500, "cluster not ready"),
        "API", F, "500 cluster not ready", "journalctl",
    ),
    "a privilege is missing": Fault(
        lambda h: grant(h, ALL - {"VM.Config.CPU"}, IMAGES),
        "privileges", F, "VM.Config.CPU is missing on /vms/8000, /vms/8010 and 2 more paths",
        'pveum role modify Castle --append 1 --privs "VM.Config.CPU"',
    ),
    "a privilege is missing that moves machines": Fault(
        lambda h: grant(h, ALL - {"VM.Migrate"}, IMAGES),
        "privileges", W, "VM.Migrate is missing", "--append 1",
    ),
    "a privilege of the network is missing": Fault(
        lambda h: grant(h, ALL - {"SDN.Use"}, IMAGES),
        "privileges", F, "SDN.Use is missing on /sdn/zones/localnetwork/vmbr0", "--append 1",
    ),
    "the role on the images replaces the other": Fault(
        lambda h: grant(h, ALL, frozenset({"Datastore.Allocate"})),
        "privileges", F, "is missing on /storage/local", "role modify CastleImages --append 1",
    ),
    "the token has no privilege": Fault(
        lambda h: grant(h, frozenset(), frozenset()),
        "privileges", F, "has no privilege at all", "--privsep 0",
    ),
    "a host has another name": Fault(
        lambda h: h.set("proxmox.hosts", ["pve1", "pve-2"]),
        "hosts", F, "pve-2 is not a host of this Proxmox", "did you mean pve2?",
    ),
    "a host is offline": Fault(
        lambda h: host(h, online=False), "hosts", F, "pve2 is offline", "start it",
    ),
    "a host is too old": Fault(
        lambda h: host(h, version="8.3.5"),
        "hosts", F, "pve2 runs Proxmox VE 8.3", "upgrade it to 8.4",
    ),
    "a host has too little memory": Fault(
        lambda h: host(h, memory=8 * GIB),
        "hosts", F, "has 7 GiB of memory free, and 16 GiB are needed", "lower memory_mib",
    ),
    "a host's memory is promised already": Fault(
        lambda h: h.rack.proxmox.cluster.add_foreign(
            200, node="pve2", config={"memory": str(120 * 1024)}
        ),
        "hosts", W, "pve2 promises 136 GiB to its guests (16 GiB to the castle)", "nodes.overrides",
    ),
    "a host's memory is in use": Fault(
        lambda h: host(h, memory_used=120 * GIB),
        "hosts", W, "has 8 GiB of memory free", "lower memory_mib",
    ),
    "a machine has more cores than its host": Fault(
        lambda h: h.set("nodes.overrides", {"worker-1": {"cores": 17}}),
        "hosts", F, "has 16 cores, and starts no machine with more: worker-1 wants 17", "cores",
    ),
    "a host has too few cores for all": Fault(
        lambda h: host(h, cores=6), "hosts", W, "pve2 has 6 cores, and its guests 8", "lower cores",
    ),
    "a bridge is missing": Fault(
        lambda h: host(h, bridges=("vmbr1",)),
        "bridge", F, "vmbr0 is not a bridge of pve2", "pve2 has: vmbr1",
    ),
    "the storage of the images has another name": Fault(
        lambda h: h.set("proxmox.image_datastore", "locals"),
        "storages", F, "locals is not a storage of pve1", "pve1 has for it: local",
    ),
    "a storage is not for images": Fault(
        lambda h: change(h, "local", content=frozenset({"iso", "vztmpl"})),
        "storages", F, "local on pve2 is not for content type `import`",
        "pvesm set local --content iso,vztmpl,import",
    ),
    "a storage is not for disks": Fault(
        lambda h: change(h, "local-lvm", content=frozenset({"rootdir"})),
        "storages", F, "local-lvm on pve2 is not for content type `images`",
        "pvesm set local-lvm --content rootdir,images",
    ),
    "a storage is not active": Fault(
        lambda h: change(h, "local-lvm", active=False),
        "storages", F, "local-lvm is not active on pve2", "pvesm status",
    ),
    "a storage is too small": Fault(
        lambda h: change(h, "local-lvm", kind="lvm", total=100 * GIB),
        "storages", F, "has 100 GiB free, and the disks of the machines may grow by 154", "room",
    ),
    "a thin storage can never hold the disks": Fault(
        lambda h: change(h, "local-lvm", total=100 * GIB),
        "storages", F, "has 100 GiB free", "lower data_disk_gib",
    ),
    "a thin storage holds the disks only half full": Fault(
        lambda h: change(
            h, "local-lvm", total=200 * GIB,
            volumes={"x": Volume(volid="x", content="images", format="raw", size=100 * GIB)},
        ),
        "storages", W, "they fit only as long as they are not full", "lower data_disk_gib",
    ),
    "no room for the image": Fault(
        lambda h: change(h, "local", total=GIB // 2),
        "storages", F, "local on pve2 has 0.5 GiB free", "make room",
    ),
    "a VM id is taken": Fault(
        lambda h: h.rack.proxmox.cluster.add_foreign(8011, node="pve1", config={"name": "nas"}),
        "VM ids", F, "VM id 8011 is wanted for castle-worker-2, and taken: on pve1",
        "Choose another proxmox.first_vm_id",
    ),
    "a machine that looks like ours has no tag": Fault(
        lambda h: h.rack.proxmox.cluster.add_foreign(
            8010, node="pve2", config={"name": "castle-worker-1", "memory": "1"}
        ),
        "VM ids", W, "without this castle's tag", "give it the tag ephemeral-castle-homelab",
    ),
    "another machine of ours has the VM id": Fault(
        lambda h: h.rack.proxmox.cluster.add_foreign(
            8010,
            node="pve2",
            config={"name": "keep-worker-1", "memory": "1", "tags": "ephemeral-castle-homelab"},
        ),
        "VM ids", W, "this castle's keep-worker-1 has it", "Set cluster.name",
    ),
    "the pool is somebody else's": Fault(
        lambda h: h.rack.proxmox.cluster.pools.update(castle=Pool(poolid="castle", comment="old")),
        "VM ids", F, "pool castle exists", "choose another proxmox.pool",
    ),
    "the gateway is not there": Fault(
        lambda h: h.seen.update({h.address(1): Presence(on_link=True)}),
        "gateway", F, "is not there", "network.gateway",
    ),
    "a machine's address is taken": Fault(
        lambda h: h.listen(h.address(156)),
        "addresses", F, "156 for worker-2 is taken: port 50000 is open", "another address",
    ),
    "the VIP is taken by somebody who is silent": Fault(
        lambda h: h.seen.update({h.address(250): Presence("", MAC, on_link=True)}),
        "addresses", W, f"250 for VIP was seen in use a moment ago (MAC address {MAC})", "device",
    ),
    "a machine's address is taken, or a firewall says so": Fault(
        lambda h: h.seen.update({h.address(156): Presence("it refuses port 22")}),
        "addresses",
        W,
        "156 for worker-2 may be taken: it refuses port 22, unless a firewall",
        "arping",
    ),
    "a machine's address is taken by who refuses": Fault(
        lambda h: h.seen.update({h.address(156): Presence("it refuses port 22", MAC, True)}),
        "addresses",
        F,
        f"156 for worker-2 is taken: it refuses port 22 (MAC address {MAC})",
        "another address",
    ),
    "an address of the pool is taken": Fault(
        lambda h: h.seen.update({h.address(243): Presence("it answers a ping", MAC, on_link=True)}),
        "addresses", F, f"243 for pool is taken: it answers a ping (MAC address {MAC})", "another",
    ),
    "the factory is off": Fault(
        lambda h: h.set("image.factory", "http://127.0.0.1:9"),
        "Image Factory", F, "Connection refused", "image.factory",
    ),
    "the factory does not know this Talos": Fault(
        lambda h: h.rack.factory.versions.remove("v1.13.9"),
        "Image Factory", F, "does not know Talos v1.13.9", "v1.13.0",
    ),
    "the factory does not know an extension": Fault(
        lambda h: h.set("image.extensions", ["siderolabs/i916"]),
        "Image Factory", F, "siderolabs/i916 is not an extension", "did you mean siderolabs/i915?",
    ),
    "a host does not reach the factory": Fault(
        lambda h: refuse(h, "/nodes/pve2/query-url-metadata", 500, UNREACHABLE),
        "Image Factory from the hosts", F, "pve2 does not reach", "name servers",
    ),
    "a chart repository is off": Fault(
        lambda h: h.set("longhorn.chart_repository", "http://127.0.0.1:9"),
        "Longhorn", F, "Connection refused", "longhorn.chart_repository",
    ),
    "a chart repository is empty": Fault(
        lambda h: h.index.pop("traefik"), "Traefik", F, "41.3.0 is not in", "traefik.chart_version",
    ),
    "a chart's version is gone": Fault(
        lambda h: h.index["metallb"].pop(), "MetalLB", F, "is not in", "metallb.chart_version",
    ),
    "Flux' chart is not there": Fault(
        lambda h: h.set("flux", {
            "url": "https://git.tazlab.net/me/manifests.git",
            "chart_repository": h.config["ephemeral-castle:longhorn"]["chart_repository"],
        }),
        "Flux", F, "flux-operator 0.49.0 is not in", "flux.chart_version",
    ),
    "the site's name is unknown": Fault(
        lambda h: h.names.clear(),
        "DNS", W, "tazlab.net has no address", "point to 20.30.40.50",
    ),
    "the site's name leads elsewhere": Fault(
        lambda h: h.names.update({"tazlab.net": [IPv4Address("8.8.4.4")]}),
        "DNS", W, "leads to 8.8.4.4, and the router's public address is 20.30.40.50", "proxy",
    ),
    "the site's name leads into a house": Fault(
        lambda h: h.names.update({"tazlab.net": [IPv4Address("192.168.9.9")]}),
        "DNS", W, "leads to 192.168.9.9 here, which nobody outside", "A record",
    ),
    "the router has no public address": Fault(
        lambda h: setattr(h, "public", IPv4Address("100.65.0.1")),
        "DNS", W, "the router's address 100.65.0.1 is not public", "ask your provider",
    ),
    "the CLI is old": Fault(
        lambda h: setattr(h, "cli", "v3.100.0"), "tools", W, "older than", "install v3.259.0",
    ),
    "the CLI is of another time": Fault(
        lambda h: setattr(h, "cli", "v4.0.0"), "tools", W, "is written for v3.259.0", "install",
    ),
}  # fmt: skip


async def test_a_sound_house_has_nothing_wrong_with_it(house: FakeHomelab) -> None:
    assert await house.troubles() == []
    assert_only_looked(house)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_each_fault_is_named_and_nothing_else(house: FakeHomelab, fault: Fault) -> None:
    fault.inject(house)
    before = dict(house.rack.vms)
    ((check, finding), *more) = await house.troubles()
    # The same fault on the other host may be told too; nothing of any other check.
    assert {other for other, _ in more} <= {check}
    assert (check, finding.result) == (fault.check, fault.result)
    assert fault.text in f"{finding.subject} {finding.text}"
    assert fault.fix in finding.fix
    assert_only_looked(house)
    assert house.rack.vms == before


def assert_only_looked(house: FakeHomelab) -> None:
    """Nobody was asked for more than an answer."""
    assert {request.method for request in house.rack.requests} <= {"GET"}
    assert set(house.chart_requests) <= {"GET"}


# A castle that stands -----------------------------------------------------------------------------


async def test_a_castle_that_stands_has_nothing_wrong_with_it(house: FakeHomelab) -> None:
    house.build()
    # As full as it may be: what the castle has already is not asked for again.
    for name in ("pve1", "pve2"):
        node = house.rack.proxmox.cluster.node(name)
        node.memory, node.memory_used = 17 * GIB, 17 * GIB
        node.storage("local-lvm").total = GIB
    assert await house.troubles() == []


async def test_a_castle_that_grows_asks_for_what_is_new_alone(house: FakeHomelab) -> None:
    house.build()
    house.set("nodes.workers.data_disk_gib", 53)
    pve2 = house.rack.proxmox.cluster.node("pve2")
    pve2.storage("local-lvm").total = 25 * GIB
    assert await house.troubles() == []
    pve2.storage("local-lvm").total = 15 * GIB
    ((check, finding),) = await house.troubles()
    assert check == "storages" and "may grow by 20 GiB" in finding.text


async def test_a_stranger_at_a_new_address_of_a_castle_that_stands(house: FakeHomelab) -> None:
    house.build()
    house.set("nodes.overrides", {"worker-2": {"address": str(house.address(180))}})
    assert await house.troubles() == []
    house.listen(house.address(180))
    ((check, finding),) = await house.troubles()
    assert (check, finding.result) == ("addresses", F)
    assert "180 for worker-2 is taken" in f"{finding.subject} {finding.text}"


async def test_a_machine_that_is_off_leaves_its_address_to_a_stranger(house: FakeHomelab) -> None:
    house.build()
    house.rack.vms[8011].lose_power()
    ((check, finding),) = await house.troubles()
    assert check == "addresses" and "156 for worker-2" in finding.subject


async def test_a_second_device_beside_ours_is_seen_by_its_mac_address(house: FakeHomelab) -> None:
    house.build()
    house.seen[house.address(250)] = Presence("port 443 is open", MAC, on_link=True)
    ((_, finding),) = await house.troubles()
    assert finding.result is W and "none of our machines has" in finding.text


async def test_a_repeater_that_speaks_for_all_is_no_stranger(house: FakeHomelab) -> None:
    house.build()
    for last in (1, 155, 250):
        house.seen[house.address(last)] = Presence("port 443 is open", MAC, on_link=True)
    assert await house.troubles() == []


async def test_a_castle_that_was_just_taken_down_is_not_in_its_own_way(house: FakeHomelab) -> None:
    from clients.proxmox.guests import mac_address

    ours = mac_address(house.settings.stack_tag, 8010)
    house.seen[house.address(155)] = Presence("", ours, on_link=True)
    house.seen[house.address(250)] = Presence("", ours, on_link=True)
    assert await house.troubles() == []


async def test_a_castle_that_stands_can_do_without_the_internet(house: FakeHomelab) -> None:
    house.build()
    house.set("image.factory", "http://127.0.0.1:9")
    house.set("longhorn.chart_repository", "http://127.0.0.1:9")
    refuse(house, "/nodes/pve2/query-url-metadata", 500, UNREACHABLE)
    found = await house.troubles()
    assert [(check, finding.result) for check, finding in found] == [
        ("Image Factory", W),
        ("Image Factory from the hosts", W),
        ("Longhorn", W),
    ]


async def test_an_image_that_is_there_needs_no_room(house: FakeHomelab) -> None:
    local = house.rack.proxmox.cluster.node("pve2").storage("local")
    local.total = GIB // 2
    for host, troubles in (("pve1", 1), ("pve2", 0)):
        volid = f"local:import/ephemeral-castle-homelab-talos-v1.13.9-abc-{host}.qcow2"
        local.volumes[volid] = Volume(volid=volid, content="import", format="qcow2", size=1)
        assert len(await house.troubles()) == troubles


# What others may cause ----------------------------------------------------------------------------


async def test_what_cannot_be_asked_is_not_said_to_be_well(house: FakeHomelab) -> None:
    house.set("proxmoxve:endpoint", "https://127.0.0.1:9/")
    found = {one.check: one.findings for one in await house.examine()}
    for check in ("privileges", "hosts", "bridge", "storages", "VM ids", "addresses"):
        (finding,) = found[check]
        assert (finding.result, finding.text) == (
            Result.NOTE,
            "not checked: Proxmox cannot be asked",
        )


async def test_a_stage_whisper_of_the_token_is_not_passed_on(house: FakeHomelab) -> None:
    secret = house.rack.api_token.partition("=")[2]
    refuse(house, "/version", 500, f"who sent {secret} to me?")
    told = repr(await house.examine())
    assert secret not in told and "[secret]" in told


async def test_a_defect_of_one_check_hides_no_other(house: FakeHomelab) -> None:
    def burst(name: str) -> list[IPv4Address]:
        raise RuntimeError("out of order")

    ((check, finding),) = await house.troubles(resolve=burst)
    assert check == "DNS" and "RuntimeError: out of order" in finding.text


async def test_a_question_that_hangs_is_left_to_itself(house: FakeHomelab) -> None:
    import asyncio
    import threading

    from doctor.context import Context
    from doctor.examine import examine
    from doctor.proxmox import Proxmox
    from doctor.tools import check

    forever = threading.Event()
    probes = replace(house.probes(), cli_version=lambda: str(forever.wait()))
    context = Context(
        settings=house.settings,
        advice=(),
        probes=probes,
        proxmox=Proxmox(probes.proxmox, "owner"),
    )
    checks = [("This machine", "tools", check)]
    (found,) = await asyncio.to_thread(examine, context, limit=0.1, checks=checks)
    forever.set()
    (finding,) = found.findings
    assert "did not end within 0.1 s" in finding.text
