"""The doctor on a simulated rack: a correct homelab, then one fault at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from clients.proxmox.guests import mac_address
from doctor.address_probe import Presence
from doctor.checks.privileges import CASTLE, CASTLE_IMAGES
from doctor.findings import Result
from tests.doctor.homelab import FakeHomelab
from tests.e2e.rack.faults import Fault as Refusal
from tests.e2e.rack.proxmox.model import CPU_FLAGS, GIB, Pool, Volume

F, W = Result.FAILURE, Result.WARNING
MAC = "AA:BB:CC:DD:EE:FF"


@dataclass(frozen=True)
class Fault:
    """A fault, and the finding that the doctor must report."""

    inject: Callable[[FakeHomelab], object]
    check: str
    result: Result
    text: str
    fix: str


def storage(homelab: FakeHomelab, name: str, host: str = "pve2") -> object:
    return homelab.rack.proxmox.cluster.node(host).storage(name)


def change(homelab: FakeHomelab, name: str, **values: object) -> None:
    """Change a storage of pve2."""
    for key, value in values.items():
        setattr(storage(homelab, name), key, value)


def host(homelab: FakeHomelab, **values: object) -> None:
    """Change pve2."""
    for key, value in values.items():
        setattr(homelab.rack.proxmox.cluster.node("pve2"), key, value)


def refuse(homelab: FakeHomelab, path: str, status: int, reason: str) -> None:
    faults = homelab.rack.faults
    faults.append(Refusal(method="GET", path=path, reason=reason, status=status, times=99))


def grant(homelab: FakeHomelab, vms: frozenset[str], images: frozenset[str]) -> None:
    access = homelab.rack.proxmox.access
    access.roles |= {"Castle": vms, "CastleImages": images}
    access.acl = {"/": frozenset({"Castle"}), "/storage/local": frozenset({"CastleImages"})}


ALL, IMAGES = frozenset(CASTLE.privileges), frozenset(CASTLE_IMAGES.privileges)
UNREACHABLE = "invalid server response: '500 Can't connect to factory:443 (Name not known)'"


FAULTS = {
    "Proxmox is off": Fault(
        lambda h: h.set("proxmoxve:endpoint", "https://127.0.0.1:9/"),
        "API", F, "Connection refused", "proxmoxve:endpoint",
    ),
    "Proxmox's certificate is not trusted": Fault(
        lambda h: h.set("proxmoxve:insecure", False),
        "API", F, "is not trusted: unable to get local issuer", "proxmoxve:insecure: true",
    ),
    "the token is wrong": Fault(
        lambda h: h.set("proxmoxve:apiToken", "root@pam!rack=00000000-0000"),
        "API", F, "401 Authentication failed!", "make token",
    ),
    "Proxmox answers with an error": Fault(
        lambda h: refuse(h, "/version", 500, "cluster not ready"),
        "API", F, "500 cluster not ready", "journalctl",
    ),
    "a privilege is missing": Fault(
        lambda h: grant(h, ALL - {"VM.Config.CPU"}, IMAGES),
        "privileges", F, "VM.Config.CPU is missing on /vms/8000, /vms/8010 and 2 more paths",
        'pveum role modify Castle --append 1 --privs "VM.Config.CPU"',
    ),
    "the privilege to move VMs is missing": Fault(
        lambda h: grant(h, ALL - {"VM.Migrate"}, IMAGES),
        "privileges", W, "VM.Migrate is missing", "--append 1",
    ),
    "a network privilege is missing": Fault(
        lambda h: grant(h, ALL - {"SDN.Use"}, IMAGES),
        "privileges", F, "SDN.Use is missing on /sdn/zones/localnetwork/vmbr0", "--append 1",
    ),
    "the role on the image storage lacks privileges": Fault(
        lambda h: grant(h, ALL, frozenset({"Datastore.Allocate"})),
        "privileges", F, "are missing on /storage/local", "role modify CastleImages --append 1",
    ),
    "the token has no privileges": Fault(
        lambda h: grant(h, frozenset(), frozenset()),
        "privileges", F, "has no privileges",
        "acl modify /storage/local --users root@pam --tokens 'root@pam!rack' --roles CastleImages",
    ),
    "a host has another name": Fault(
        lambda h: h.set("proxmox.hosts", ["pve1", "pve-2"]),
        "hosts", F, "pve-2 is not a host of this Proxmox", "did you mean pve2?",
    ),
    "the cluster has no quorum": Fault(
        lambda h: setattr(h.rack.proxmox.cluster, "has_quorum", False),
        "quorum", F, "cluster rack has no quorum, so Proxmox refuses every change: 2 of 2 hosts",
        "pvecm status",
    ),
    "the clock of a host is behind": Fault(
        lambda h: host(h, clock_offset_s=-300),
        "clocks", F, "s behind this machine's clock", "timedatectl set-ntp",
    ),
    "the clock of a host is ahead": Fault(
        lambda h: host(h, clock_offset_s=300),
        "clocks", W, "s ahead of this machine's clock", "timedatectl set-ntp",
    ),
    "the CPU of a host is too old": Fault(
        lambda h: host(h, cpu_flags=CPU_FLAGS.replace(" popcnt", "").replace(" aes", "")),
        "hosts", F, "pve2 has a CPU that lacks aes, popcnt, so no VM of type x86-64-v2-AES",
        "use another host",
    ),
    "hardware virtualization is off": Fault(
        lambda h: host(h, cpu_flags=CPU_FLAGS.replace(" vmx", "")),
        "hosts", F, "pve2 has a CPU without hardware virtualization", "VT-x or AMD-V",
    ),
    "a thin storage with more disks than space is nearly full": Fault(
        lambda h: change(
            h, "local-lvm", total=2000 * GIB, thin_used=1810 * GIB,
            volumes={"x": Volume(volid="x", content="images", format="raw", size=2000 * GIB)},
        ),
        "storages", W, "2154 GiB to the disks of all guests, 1810 GiB of 2000 GiB in use",
        "delete disks",
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
        "hosts", F, "has 7 GiB of memory free, and new or larger VMs of the stack need 16 GiB",
        "lower memory_mib",
    ),
    "other guests are configured with a host's memory": Fault(
        lambda h: h.rack.proxmox.cluster.add_foreign(
            200, node="pve2", config={"memory": str(120 * 1024)}
        ),
        "hosts", W, "its guests are configured with 136 GiB (16 GiB of it for this stack)",
        "nodes.overrides",
    ),
    "a host's memory is in use": Fault(
        lambda h: host(h, memory_used=120 * GIB),
        "hosts", W, "has 8 GiB of memory free", "lower memory_mib",
    ),
    "a VM has more cores than its host": Fault(
        lambda h: h.set("nodes.overrides", {"worker-1": {"cores": 17}}),
        "hosts", F, "has 16 cores, and starts no VM with more: worker-1 has 17", "cores",
    ),
    "a host has too few cores for all guests": Fault(
        lambda h: host(h, cores=6),
        "hosts", W, "pve2 has 6 cores, and its guests have 8", "lower the cores",
    ),
    "a bridge is missing": Fault(
        lambda h: host(h, bridges=("vmbr1",)),
        "bridge", F, "vmbr0 is not a bridge of pve2", "pve2 has: vmbr1",
    ),
    "the image storage does not exist": Fault(
        lambda h: h.set("proxmox.image_datastore", "locals"),
        "storages", F, "locals is not a storage of pve1",
        "storages of pve1 with content type `import`: local",
    ),
    "a storage does not allow images": Fault(
        lambda h: change(h, "local", content=frozenset({"iso", "vztmpl"})),
        "storages", F, "local on pve2 does not allow content type `import`",
        "pvesm set local --content iso,vztmpl,import",
    ),
    "a storage does not allow disks": Fault(
        lambda h: change(h, "local-lvm", content=frozenset({"rootdir"})),
        "storages", F, "local-lvm on pve2 does not allow content type `images`",
        "pvesm set local-lvm --content rootdir,images",
    ),
    "a storage cannot have images": Fault(
        lambda h: change(h, "local", kind="lvmthin", content=frozenset({"rootdir"})),
        "storages", F, "local on pve2 does not allow content type `import`",
        "choose another proxmox.image_datastore: a storage of type lvmthin cannot",
    ),
    "a storage is not active": Fault(
        lambda h: change(h, "local-lvm", active=False),
        "storages", F, "local-lvm is not active on pve2", "pvesm status",
    ),
    "a storage is too small": Fault(
        lambda h: change(h, "local-lvm", kind="lvm", total=100 * GIB),
        "storages", F, "has 100 GiB free, and the disks of the VMs may grow by 154", "free space",
    ),
    "a thin storage is smaller than the disks": Fault(
        lambda h: change(h, "local-lvm", total=100 * GIB),
        "storages", F, "has 100 GiB free", "lower data_disk_gib",
    ),
    "a thin storage fits the disks only while they are not full": Fault(
        lambda h: change(
            h, "local-lvm", total=200 * GIB,
            volumes={"x": Volume(volid="x", content="images", format="raw", size=100 * GIB)},
        ),
        "storages", W, "the disks fit only while they are not full", "lower data_disk_gib",
    ),
    "a storage has no space for the image": Fault(
        lambda h: change(h, "local", total=GIB // 2),
        "storages", F, "local on pve2 has 0.5 GiB free", "free space",
    ),
    "a VM id is taken": Fault(
        lambda h: h.rack.proxmox.cluster.add_foreign(8011, node="pve1", config={"name": "nas"}),
        "VM ids", F, "VM id 8011 for castle-worker-2 is taken: on pve1 it belongs to the virtual",
        "set another nodes.overrides.worker-2.vm_id",
    ),
    "a VM has the name of a node but another MAC address": Fault(
        lambda h: h.rack.proxmox.cluster.add_foreign(
            8010, node="pve2", config={"name": "castle-worker-1", "memory": "1"}
        ),
        "VM ids", F, "is not part of this stack", "set another nodes.overrides.worker-1.vm_id",
    ),
    "another VM of the stack has the VM id": Fault(
        lambda h: h.rack.proxmox.cluster.add_foreign(
            8010,
            node="pve2",
            config={
                "name": "keep-worker-1",
                "memory": "1",
                "tags": "ephemeral-castle-homelab",
                "net0": f"virtio={mac_address('ephemeral-castle-homelab', 8010)}",
            },
        ),
        "VM ids", W, "on pve2 it belongs to keep-worker-1 of this stack", "set cluster.name",
    ),
    "the pool does not belong to the stack": Fault(
        lambda h: h.rack.proxmox.cluster.pools.update(castle=Pool(poolid="castle", comment="old")),
        "VM ids", F, "pool castle exists", "choose another proxmox.pool",
    ),
    "the gateway does not answer": Fault(
        lambda h: h.devices.update({h.address(1): Presence(on_link=True)}),
        "gateway", F, "no device in this network has this address", "network.gateway",
    ),
    "a node's address is taken": Fault(
        lambda h: h.listen(h.address(156)),
        "addresses", F, "156 for worker-2 is taken: port 50000 is open", "another address",
    ),
    "the VIP is taken by a silent device": Fault(
        lambda h: h.devices.update({h.address(250): Presence("", MAC, on_link=True)}),
        "addresses", W, f"250 for VIP was in use some minutes ago (MAC address {MAC})", "device",
    ),
    "a node's address is taken, or a firewall refuses": Fault(
        lambda h: h.devices.update({h.address(156): Presence("it refuses port 22")}),
        "addresses",
        W,
        "156 for worker-2 may be taken: it refuses port 22, but a firewall",
        "ip neigh show",
    ),
    "a node's address is taken by a device that refuses": Fault(
        lambda h: h.devices.update({h.address(156): Presence("it refuses port 22", MAC, True)}),
        "addresses",
        F,
        f"156 for worker-2 is taken: it refuses port 22 (MAC address {MAC})",
        "another address",
    ),
    "an address of the pool is taken": Fault(
        lambda h: h.devices.update({h.address(243): Presence("it answers a ping", MAC, True)}),
        "addresses", F, f"243 for pool is taken: it answers a ping (MAC address {MAC})", "another",
    ),
    "the factory is off": Fault(
        lambda h: h.set("image.factory", "http://127.0.0.1:9"),
        "Image Factory", F, "Connection refused", "image.factory",
    ),
    "the factory does not have this Talos version": Fault(
        lambda h: h.rack.factory.versions.remove("v1.13.9"),
        "Image Factory", F, "does not have Talos v1.13.9", "v1.13.0",
    ),
    "the factory does not have an extension": Fault(
        lambda h: h.set("image.extensions", ["siderolabs/i916"]),
        "Image Factory", F, "siderolabs/i916 is not an extension", "did you mean siderolabs/i915?",
    ),
    "a host cannot reach the factory": Fault(
        lambda h: refuse(h, "/nodes/pve2/query-url-metadata", 500, UNREACHABLE),
        "Image Factory from the hosts", F, "pve2 cannot reach", "name servers",
    ),
    "a chart repository is off": Fault(
        lambda h: h.set("longhorn.chart_repository", "http://127.0.0.1:9"),
        "Longhorn", F, "Connection refused", "longhorn.chart_repository",
    ),
    "a chart repository is empty": Fault(
        lambda h: h.index.pop("traefik"), "Traefik", F, "41.3.0 is not in", "traefik.chart_version",
    ),
    "a chart's version is missing": Fault(
        lambda h: h.index["metallb"].pop(), "MetalLB", F, "is not in", "metallb.chart_version",
    ),
    "a chart's archive is gone": Fault(
        lambda h: h.lose_archive("metallb-0.16.1.tgz", status=404),
        "MetalLB", F, "metallb 0.16.1 is listed in http://127.0.0.1", "metallb.chart_version",
    ),
    "a chart's archive cannot be downloaded": Fault(
        lambda h: h.lose_archive("longhorn-1.12.1.tgz", status=503),
        "Longhorn", F, "longhorn-1.12.1.tgz answers 503", "internet access",
    ),
    "Flux's chart is missing": Fault(
        lambda h: h.set("flux", {
            "url": "https://git.tazlab.net/me/manifests.git",
            "chart_repository": h.config["ephemeral-castle:longhorn"]["chart_repository"],
        }),
        "Flux", F, "flux-operator 0.49.0 is not in", "flux.chart_version",
    ),
    "the site's name has no address": Fault(
        lambda h: h.names.clear(),
        "DNS", W, "tazlab.net has no address", "set an A record of tazlab.net",
    ),
    "the site's name resolves to a private address": Fault(
        lambda h: h.names.update({"tazlab.net": [IPv4Address("192.168.9.9")]}),
        "DNS", W, "resolves to 192.168.9.9 on this machine, which the internet", "A record",
    ),
    "the site's name also has an IPv6 address": Fault(
        lambda h: h.ipv6_names.update({"tazlab.net": [IPv6Address("2606:4700::6810:1")]}),
        "DNS", W, "tazlab.net also has IPv6 addresses in the DNS (2606:4700::6810:1), which Let's",
        "remove the AAAA records of tazlab.net",
    ),
    "the site's name has only an IPv6 address": Fault(
        lambda h: h.ipv6_names.update({h.names.popitem()[0]: [IPv6Address("2a00::1")]}),
        "DNS", W, "tazlab.net has only IPv6 addresses in the DNS (2a00::1), but the ingress has",
        "remove its AAAA records, and set an A record of tazlab.net",
    ),
    "the CLI is old": Fault(
        lambda h: setattr(h, "cli", "v3.100.0"), "tools", W, "older than", "install v3.259.0",
    ),
    "the CLI has another major version": Fault(
        lambda h: setattr(h, "cli", "v4.0.0"), "tools", W, "the program needs v3.259.0", "install",
    ),
}  # fmt: skip


async def test_a_correct_homelab_has_no_warnings_or_failures(homelab: FakeHomelab) -> None:
    assert await homelab.warnings_and_failures() == []
    assert_read_only(homelab)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_each_fault_is_reported_by_one_check(homelab: FakeHomelab, fault: Fault) -> None:
    fault.inject(homelab)
    before = dict(homelab.rack.vms)
    ((check, finding), *more) = await homelab.warnings_and_failures()
    # The same check may report the other host too; no other check may report anything, except that
    # the hosts cannot reach an Image Factory either that refuses connections.
    assert {other for other, _ in more} <= {check, f"{check} from the hosts"}
    assert (check, finding.result) == (fault.check, fault.result)
    assert fault.text in f"{finding.subject} {finding.text}"
    assert fault.fix in finding.fix
    assert_read_only(homelab)
    assert homelab.rack.vms == before


def assert_read_only(homelab: FakeHomelab) -> None:
    """The doctor sent only GET requests."""
    assert {request.method for request in homelab.rack.requests} <= {"GET"}
    assert set(homelab.chart_requests) <= {"GET"}


# A running stack ----------------------------------------------------------------------------------


async def test_a_running_stack_needs_no_more_memory_or_space(homelab: FakeHomelab) -> None:
    homelab.deploy()
    # Memory and storage have no space for a second copy of the VMs.
    for name in ("pve1", "pve2"):
        node = homelab.rack.proxmox.cluster.node(name)
        node.memory, node.memory_used = 17 * GIB, 17 * GIB
        node.storage("local-lvm").total = GIB
    assert await homelab.warnings_and_failures() == []


async def test_larger_disks_need_space_only_for_their_growth(homelab: FakeHomelab) -> None:
    homelab.deploy()
    homelab.set("nodes.workers.data_disk_gib", 53)
    pve2 = homelab.rack.proxmox.cluster.node("pve2")
    pve2.storage("local-lvm").total = 25 * GIB
    assert await homelab.warnings_and_failures() == []
    pve2.storage("local-lvm").total = 15 * GIB
    ((check, finding),) = await homelab.warnings_and_failures()
    assert check == "storages" and "may grow by 20 GiB" in finding.text


async def test_a_new_address_of_a_running_stack_must_be_free(homelab: FakeHomelab) -> None:
    homelab.deploy()
    homelab.set("nodes.overrides", {"worker-2": {"address": str(homelab.address(180))}})
    assert await homelab.warnings_and_failures() == []
    homelab.listen(homelab.address(180))
    ((check, finding),) = await homelab.warnings_and_failures()
    assert (check, finding.result) == ("addresses", F)
    assert "180 for worker-2 is taken" in f"{finding.subject} {finding.text}"


async def test_what_an_up_would_remove_from_a_vm_is_reported(homelab: FakeHomelab) -> None:
    homelab.deploy()
    config = homelab.rack.vms[8010].config
    config["net1"] = f"virtio={MAC},bridge=vmbr0"
    assert await homelab.warnings_and_failures() == []
    config["net0"] = config["net0"].replace("vmbr0", "vmbr1")
    ((check, finding),) = await homelab.warnings_and_failures()
    assert (check, finding.result) == ("VM ids", W)
    assert finding.subject.startswith("castle-worker-1 (VM 8010 on pve")
    assert "somebody added net1" in finding.text and "add it again" in finding.fix


async def test_a_device_at_the_address_of_a_stopped_vm_is_reported(homelab: FakeHomelab) -> None:
    homelab.deploy()
    homelab.rack.vms[8011].lose_power()
    ((check, finding),) = await homelab.warnings_and_failures()
    assert check == "addresses" and "156 for worker-2" in finding.subject


async def test_a_second_device_at_an_address_is_found_by_its_mac_address(
    homelab: FakeHomelab,
) -> None:
    homelab.deploy()
    homelab.devices[homelab.address(250)] = Presence("port 443 is open", MAC, on_link=True)
    ((_, finding),) = await homelab.warnings_and_failures()
    assert finding.result is W and f"no VM of the stack has MAC address {MAC}" in finding.text


async def test_a_repeater_that_answers_for_all_devices_is_not_reported(
    homelab: FakeHomelab,
) -> None:
    homelab.deploy()
    for last in (1, 155, 250):
        homelab.devices[homelab.address(last)] = Presence("port 443 is open", MAC, on_link=True)
    assert await homelab.warnings_and_failures() == []


async def test_deleted_vms_in_the_neighbor_table_are_not_reported(
    homelab: FakeHomelab,
) -> None:
    from clients.proxmox.guests import mac_address

    mac = mac_address(homelab.settings.stack_tag, 8010)
    homelab.devices[homelab.address(155)] = Presence("", mac, on_link=True)
    homelab.devices[homelab.address(250)] = Presence("", mac, on_link=True)
    assert await homelab.warnings_and_failures() == []


async def test_a_running_stack_without_internet_gets_warnings_not_failures(
    homelab: FakeHomelab,
) -> None:
    homelab.deploy()
    homelab.set("image.factory", "http://127.0.0.1:9")
    homelab.set("longhorn.chart_repository", "http://127.0.0.1:9")
    found = await homelab.warnings_and_failures()
    assert [(check, finding.result) for check, finding in found] == [
        ("Image Factory", W),
        ("Image Factory from the hosts", W),
        ("Image Factory from the hosts", W),
        ("Longhorn", W),
    ]


async def test_a_wrong_clock_is_a_warning_for_a_running_stack(homelab: FakeHomelab) -> None:
    homelab.deploy()
    host(homelab, clock_offset_s=-300)
    ((check, finding),) = await homelab.warnings_and_failures()
    assert (check, finding.result) == ("clocks", W)


async def test_more_memory_and_disks_than_a_host_has_are_notes_with_figures(
    homelab: FakeHomelab,
) -> None:
    homelab.deploy()
    cluster = homelab.rack.proxmox.cluster
    stopped = cluster.add_foreign(200, node="pve2", config={"memory": str(120 * 1024)})
    stopped.lose_power()
    template = {"memory": str(900 * 1024), "template": "1"}
    cluster.add_foreign(201, node="pve2", config=template).lose_power()
    volume = Volume(volid="x", content="rootdir", format="raw", size=2000 * GIB)
    change(homelab, "local-lvm", total=1000 * GIB, thin_used=500 * GIB, volumes={"x": volume})
    checks = await homelab.collect_findings()
    notes = [it for check in checks for it in check.findings if it.result is Result.NOTE]
    texts = [f"{it.subject} {it.text}" for it in notes if "promises more" in it.text]
    assert texts == [
        "pve2 promises more memory than it has: 136 GiB to all guests (120 GiB of it to stopped "
        "ones), 1 GiB of 128 GiB in use",
        "local-lvm on pve2 promises more space than it has: 2000 GiB to the disks of all guests, "
        "500 GiB of 1000 GiB in use",
    ]
    assert await homelab.warnings_and_failures() == []


async def test_a_single_host_needs_no_quorum(homelab: FakeHomelab) -> None:
    homelab.set("proxmox.hosts", ["pve1"])
    del homelab.rack.proxmox.cluster.nodes["pve2"]
    found = {it.check: it.findings for it in await homelab.collect_findings()}
    (finding,) = found["quorum"]
    assert finding.result is Result.OK and "no Proxmox cluster" in finding.text


async def test_an_existing_image_needs_no_space(homelab: FakeHomelab) -> None:
    local = homelab.rack.proxmox.cluster.node("pve2").storage("local")
    local.total = GIB // 2
    for host, expected in (("pve1", 1), ("pve2", 0)):
        volid = f"local:import/ephemeral-castle-homelab-talos-v1.13.9-abc-{host}.qcow2"
        local.volumes[volid] = Volume(volid=volid, content="import", format="qcow2", size=1)
        assert len(await homelab.warnings_and_failures()) == expected


# Errors of servers and of checks ------------------------------------------------------------------


async def test_checks_that_cannot_read_proxmox_are_notes(homelab: FakeHomelab) -> None:
    homelab.set("proxmoxve:endpoint", "https://127.0.0.1:9/")
    found = {it.check: it.findings for it in await homelab.collect_findings()}
    for check in ("privileges", "hosts", "bridge", "storages", "VM ids", "addresses"):
        (finding,) = found[check]
        assert (finding.result, finding.text) == (
            Result.NOTE,
            "not checked: Proxmox does not answer",
        )


async def test_a_token_in_a_servers_error_message_is_hidden(homelab: FakeHomelab) -> None:
    secret = homelab.rack.api_token.partition("=")[2]
    refuse(homelab, "/version", 500, f"invalid token {secret}")
    output = repr(await homelab.collect_findings())
    assert secret not in output and "[secret]" in output


async def test_an_exception_in_one_check_hides_no_other_finding(homelab: FakeHomelab) -> None:
    def fail(name: str) -> list[IPv4Address]:
        raise RuntimeError("out of order")

    ((check, finding),) = await homelab.warnings_and_failures(resolve=fail)
    assert check == "DNS" and "RuntimeError: out of order" in finding.text


async def test_a_check_that_hangs_is_a_warning(homelab: FakeHomelab) -> None:
    import asyncio
    import threading

    from doctor.all_checks import collect_findings
    from doctor.checks.this_machine import check_cli
    from doctor.context import Context
    from doctor.proxmox import Proxmox

    forever = threading.Event()
    probes = replace(homelab.probes(), cli_version=lambda: str(forever.wait()))
    context = Context(
        settings=homelab.settings,
        advice=(),
        probes=probes,
        proxmox=Proxmox(probes.proxmox, "owner"),
    )
    checks = [("This machine", "tools", check_cli)]
    (found,) = await asyncio.to_thread(collect_findings, context, timeout_s=0.1, checks=checks)
    forever.set()
    (finding,) = found.findings
    assert "did not end within 0.1 s" in finding.text
