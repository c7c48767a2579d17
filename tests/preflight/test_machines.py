"""Checks of VM ids and VM states on Proxmox, with their messages."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pulumi
import pytest
import trustme
from pydantic import SecretStr

from clients.errors import OperationError
from clients.proxmox.api import ProxmoxError
from clients.proxmox.guests import (
    Guest,
    Ownership,
    find_conflicts,
    list_guests,
    mac_address,
    ownership,
)
from clients.talos import talosctl
from components.talos.args import ClusterFindings
from lifecycle.operations import node_replacement
from preflight import machines
from preflight.machine_states import NO_CONTROL_PLANE
from preflight.machines import MachineChecks
from preflight.sources import CURRENT, Sources
from settings.groups import Endpoint
from settings.running import RunningMachine, RunningStack
from tests.recorder import record, settings_with

TOKEN = "castle@pve!pulumi=11111111-2222-3333-4444-555555555555"
STACK_TAG = "ephemeral-castle-homelab"
NAMES = ["castle-control-plane-1", *(f"castle-worker-{number}" for number in (1, 2, 3))]
MAC = "BC:24:11:00:00:01"
OTHER_MAC = frozenset({MAC})
NAS = Guest(8010, "precious-nas", "pve", "qemu", frozenset({"storage"}), mac_addresses=OTHER_MAC)
GUESTS = [
    {"vmid": 8010, "name": "precious-nas", "node": "pve", "type": "qemu", "tags": "storage"},
    {
        "vmid": 8011,
        "name": "castle-worker-2",
        "node": "pve",
        "type": "qemu",
        "tags": f"{STACK_TAG};talos",
    },
    {"vmid": 200, "name": "dns", "node": "pve2", "type": "lxc", "pool": "house"},
]


STACK_TAGS = frozenset({STACK_TAG, "talos"})


def own(vm_id: int, name: str = "", **fields: Any) -> Guest:
    """A VM with tag and MAC address of the stack."""
    macs = frozenset({mac_address(STACK_TAG, vm_id)})
    given = {"tags": STACK_TAGS, "mac_addresses": macs, **fields}
    return Guest(vm_id, name, "pve", "qemu", **given)


class Proxmox:
    """A fake Proxmox API over TLS that always returns the same list of guests."""

    def __init__(self) -> None:
        self.status = 200
        self.body = json.dumps({"data": GUESTS})
        self.headers: dict[str, str] = {}
        self.config: dict[str, str] = {}
        """Further keys in the configuration of each VM."""
        self.unseen: set[int] = set()
        """VM ids of guests that the token may not see."""
        self.next_id_status = 200
        self.requests: list[tuple[str, str]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        proxmox = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxmox.requests.append((self.path, self.headers["Authorization"]))
                _, _, vm_id = self.path.partition("/cluster/nextid?vmid=")
                if vm_id:
                    taken = int(vm_id) in proxmox.unseen
                    self.send_response(400 if taken else proxmox.next_id_status)
                    self.end_headers()
                    self.wfile.write(json.dumps({"data": vm_id}).encode())
                    return
                if self.path.endswith("/config"):
                    config = {"net0": f"virtio={MAC},bridge=vmbr0"} | proxmox.config
                    body = json.dumps({"data": config})
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(body.encode())
                    return
                self.send_response(proxmox.status, "authentication failure")
                for name, value in proxmox.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(proxmox.body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Suppress the log."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    def endpoint(self, insecure: bool = True) -> Endpoint:
        url = f"https://127.0.0.1:{self.server.server_port}"
        return Endpoint(endpoint=url, apiToken=SecretStr(TOKEN), insecure=insecure)


@pytest.fixture
def proxmox() -> Iterator[Proxmox]:
    found = Proxmox()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_one_request_lists_all_guests_and_one_reads_each_wanted_vm(proxmox: Proxmox) -> None:
    guests = list_guests(proxmox.endpoint(), [8010, 200])
    assert [(guest.vm_id, guest.name, guest.host, guest.pool) for guest in guests] == [
        (8010, "precious-nas", "pve", ""),
        (8011, "castle-worker-2", "pve", ""),
        (200, "dns", "pve2", "house"),
    ]
    assert guests[0].mac_addresses == OTHER_MAC and guests[1].mac_addresses is None
    assert guests[0].config == {"net0": f"virtio={MAC},bridge=vmbr0"} and not guests[1].config
    assert proxmox.requests == [
        ("/api2/json/cluster/resources?type=vm", f"PVEAPIToken={TOKEN}"),
        ("/api2/json/nodes/pve/qemu/8010/config", f"PVEAPIToken={TOKEN}"),
    ]


@pytest.mark.parametrize("status", [401, 403, 500])
def test_the_error_for_a_refused_request_does_not_show_the_token(
    proxmox: Proxmox, status: int
) -> None:
    proxmox.status = status
    with pytest.raises(ProxmoxError, match=f"answers {status} authentication failure") as error:
        list_guests(proxmox.endpoint(), [8010, 200])
    assert "1111" not in str(error.value)


def test_an_unknown_certificate_is_refused_with_a_fix(proxmox: Proxmox) -> None:
    with pytest.raises(ProxmoxError, match="set proxmoxve:insecure to true"):
        list_guests(proxmox.endpoint(insecure=False), [])
    assert proxmox.requests == []


@pytest.mark.parametrize("body", ["not JSON", "{}", '{"data": null}', '{"data": [{}]}'])
def test_an_invalid_answer_is_an_error(proxmox: Proxmox, body: str) -> None:
    proxmox.body = body
    with pytest.raises(ProxmoxError, match="does not answer as it should"):
        list_guests(proxmox.endpoint(), [8010, 200])


OURS, CLONED = "the MAC address of the stack", "another MAC address"


@pytest.mark.parametrize(
    ("mac", "tag", "in_state", "owner"),
    [
        (OURS, True, True, Ownership.STACK),
        (OURS, True, False, Ownership.STACK),
        (OURS, False, True, Ownership.STACK),
        (OURS, False, False, Ownership.STACK),
        (CLONED, True, True, Ownership.CHANGED),
        (CLONED, True, False, Ownership.OTHER),
        (CLONED, False, True, Ownership.OTHER),
        (CLONED, False, False, Ownership.OTHER),
        (None, True, True, Ownership.STACK),
        (None, True, False, Ownership.UNKNOWN),
        (None, False, True, Ownership.UNKNOWN),
        (None, False, False, Ownership.UNKNOWN),
    ],
)
@pytest.mark.parametrize("name", ["", "VM 8010", "castle-worker-1", "nas"])
def test_the_mac_address_decides_to_whom_a_guest_belongs(
    mac: str | None, tag: bool, in_state: bool, owner: Ownership, name: str
) -> None:
    """Not its name or status, which Proxmox does not list for the first ten seconds of a VM."""
    macs = {OURS: frozenset({mac_address(STACK_TAG, 8010)}), CLONED: OTHER_MAC, None: None}[mac]
    tags = STACK_TAGS if tag else frozenset({"storage"})
    guest = Guest(8010, name, "pve", "qemu", tags, mac_addresses=macs)
    assert ownership(guest, STACK_TAG, in_state) is owner


def test_a_container_never_belongs_to_the_stack() -> None:
    guest = Guest(8010, "castle-worker-1", "pve", "lxc", STACK_TAGS)
    assert ownership(guest, STACK_TAG, True) is Ownership.OTHER


def test_guests_with_the_mac_address_of_the_stack_or_another_id_are_no_conflict() -> None:
    other_id = Guest(200, "dns", "pve2", "lxc", frozenset())
    guests = [NAS, own(8011, "castle-worker-2"), other_id]
    found = find_conflicts(guests, settings_with().machines, STACK_TAG)
    assert [(it.name, it.guest.name) for it in found] == [("castle-worker-1", "precious-nas")]


def test_another_vm_of_the_stack_is_a_conflict() -> None:
    former = own(8010, "keep-worker-1")
    (conflict,) = find_conflicts([former], settings_with().machines, STACK_TAG)
    text = str(conflict)
    assert "VM id 8010, wanted for castle-worker-1, is taken" in text
    assert "belongs to keep-worker-1 of this stack" in text
    assert "Set cluster.name" in text and "`make down` first" in text
    assert text.endswith("Nothing has been touched.")


@pytest.mark.parametrize("name", ["castle-worker-1", "", "VM 8010"])
def test_a_vm_of_the_stack_without_another_name_is_adopted(name: str) -> None:
    """Shortly after a killed run, Proxmox does not list the name yet."""
    assert find_conflicts([own(8010, name)], settings_with().machines, STACK_TAG) == []


def machine(name: str, vm_id: int) -> RunningMachine:
    return RunningMachine(name=name, vm_id=vm_id)


def running(*vms: RunningMachine) -> RunningStack:
    return RunningStack(machines={vm.name: vm for vm in vms})


@pytest.mark.parametrize("preview", [True, False])
def test_a_vm_of_a_renamed_cluster_is_refused(preview: bool) -> None:
    with pytest.raises(pulumi.RunError, match="belongs to keep-worker-1 of this stack"):
        check([own(8010, "keep-worker-1")], preview)


def test_a_vm_that_a_user_renamed_in_proxmox_is_known_by_the_state() -> None:
    state = running(machine("castle-worker-1", 8010))
    assert check([own(8010, "renamed")], running=state).findings.machine_states


@pytest.mark.parametrize("preview", [True, False])
def test_swapped_vm_ids_are_refused_before_any_change(preview: bool) -> None:
    """Pulumi would delete both VMs before it creates the new ones."""
    state = running(machine("castle-worker-2", 8010), machine("castle-worker-1", 8011))
    with pytest.raises(pulumi.RunError) as error:
        check([own(8010, "castle-worker-2"), own(8011, "castle-worker-1")], preview, state)
    assert "8010, wanted for castle-worker-1" in str(error.value)
    assert "8011, wanted for castle-worker-2" in str(error.value)


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize("in_state", [True, False])
def test_a_machine_of_somebody_else_is_refused_also_if_the_state_has_its_id(
    preview: bool, in_state: bool
) -> None:
    state = running(machine("castle-worker-1", 8010)) if in_state else RunningStack()
    with pytest.raises(pulumi.RunError) as error:
        check([NAS], preview, state)
    text = str(error.value)
    assert "VM id 8010, wanted for castle-worker-1, is taken" in text
    assert "on pve it belongs to the virtual machine 'precious-nas', which is not part" in text
    assert "set another nodes.overrides.worker-1.vm_id" in text.replace("Set", "set")
    assert ("run `make recover`" in text.replace("Run", "run")) is in_state
    assert text.endswith("Nothing has been touched.")


def test_a_machine_of_somebody_else_with_the_id_of_a_removed_node_is_refused() -> None:
    """An ``up`` that removes the node would delete this machine."""
    nas = Guest(8013, "precious-nas", "pve", "qemu", mac_addresses=OTHER_MAC)
    with pytest.raises(pulumi.RunError, match=r"8013, wanted for castle-worker-4, .*precious-nas"):
        check([nas], running=running(machine("castle-worker-4", 8013)))


def test_a_vm_whose_mac_address_was_changed_is_not_touched_and_the_fix_has_the_address() -> None:
    changed = own(8010, "castle-worker-1", mac_addresses=OTHER_MAC)
    with pytest.raises(pulumi.RunError) as error:
        check([changed], running=running(machine("castle-worker-1", 8010)))
    mac = mac_address(STACK_TAG, 8010)
    assert f"set the MAC address of its network device in Proxmox back to {mac}" in str(
        error.value
    ).replace("Set", "set")
    assert "remove the tag from it. Nothing has been touched." in str(error.value)


def test_a_vm_whose_configuration_cannot_be_read_is_not_adopted() -> None:
    unknown = own(8010, "", mac_addresses=None)
    with pytest.raises(pulumi.RunError, match=r"(?i)check that pve answers and that the API token"):
        check([unknown])


def test_the_id_of_a_guest_that_the_token_may_not_see_is_taken(proxmox: Proxmox) -> None:
    proxmox.unseen = {8012}
    guests = list_guests(proxmox.endpoint(), [8010, 8012, 8013])
    assert [guest.vm_id for guest in guests] == [8010, 8011, 200, 8012]
    (conflict,) = find_conflicts([guests[-1]], settings_with().machines, STACK_TAG)
    text = str(conflict)
    assert "VM id 8012" in text and "the guest 'one that the token may not see'" in text


def test_a_guest_without_a_name_is_refused_with_a_readable_message(proxmox: Proxmox) -> None:
    """Proxmox lists a new guest, and one on an offline host, without name and status."""
    proxmox.body = json.dumps({"data": [{"vmid": 8010, "node": "pve", "type": "qemu"}]})
    guests = list_guests(proxmox.endpoint())
    assert guests == [Guest(8010, "", "pve", "qemu", frozenset({""}), mac_addresses=OTHER_MAC)]
    (conflict,) = find_conflicts(guests, settings_with().machines, STACK_TAG)
    text = str(conflict)
    assert (
        "on pve it belongs to the virtual machine without a known name, which is not part" in text
    )


@pytest.mark.parametrize("listed", [{}, {"name": "a deleted VM"}])
def test_the_name_is_that_of_the_configuration(proxmox: Proxmox, listed: dict[str, str]) -> None:
    """For ten seconds the list has no name, or that of the former VM with the same id."""
    proxmox.body = json.dumps({"data": [{"vmid": 8010, "node": "pve", "type": "qemu"} | listed]})
    proxmox.config = {"name": "precious-nas"}
    (guest,) = list_guests(proxmox.endpoint(), [8010])
    assert guest.name == "precious-nas"


def test_an_id_that_the_token_may_not_query_counts_as_free(proxmox: Proxmox) -> None:
    proxmox.next_id_status = 403
    assert len(list_guests(proxmox.endpoint(), [8012])) == len(GUESTS)


def test_the_token_is_not_sent_to_a_redirect(proxmox: Proxmox) -> None:
    proxmox.status = 302
    proxmox.headers = {"Location": f"https://127.0.0.1:{proxmox.server.server_port}/elsewhere"}
    with pytest.raises(ProxmoxError, match="answers 302"):
        list_guests(proxmox.endpoint(), [])
    assert len(proxmox.requests) == 1


def test_an_incomplete_answer_is_an_error(proxmox: Proxmox) -> None:
    proxmox.headers = {"Content-Length": "5000"}
    with pytest.raises(ProxmoxError, match="does not answer as it should"):
        list_guests(proxmox.endpoint(), [])


class Hook:
    """A resource hook that is not registered with an engine."""

    def __init__(self, name: str, callback: Any, opts: Any = None) -> None:
        self.name, self.callback, self.opts = name, callback, opts


@pytest.fixture(autouse=True)
def _hooks_without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "ResourceHook", Hook)


def check(
    guests: Any,
    preview: bool = True,
    running: RunningStack | None = None,
) -> MachineChecks:
    """The result of ``check_machines`` with these guests, in a preview or an ``up``."""
    found: list[MachineChecks] = []

    def answer(_: Endpoint, wanted: Iterable[int] | None) -> list[Guest]:
        assert set(wanted or ()) >= {8000, 8010, 8011, 8012}
        if isinstance(guests, Exception):
            raise guests
        return list(guests)

    settings = settings_with(running=running or RunningStack(has_machine_secrets=True))
    CURRENT.set(Sources(list_guests=answer))
    record(lambda: found.append(machines.check_machines(settings)), preview=preview)
    return found[0]


@pytest.mark.parametrize("preview", [True, False])
def test_without_guests_there_are_no_hooks(preview: bool) -> None:
    assert check([], preview) == MachineChecks(
        findings=ClusterFindings(machine_states=dict.fromkeys(NAMES, "gone"))
    )


NO_ANSWER = ProxmoxError("GET /", "https://pve:8006", "no answer in time")


def test_a_preview_continues_if_proxmox_does_not_answer() -> None:
    assert check(NO_ANSWER, preview=True) == MachineChecks()


def test_an_up_stops_if_proxmox_does_not_answer() -> None:
    with pytest.raises(pulumi.RunError, match="no answer in time.*\nNothing has been touched"):
        check(NO_ANSWER, preview=False)


def test_a_vm_that_lost_its_tag_is_a_vm_of_the_stack() -> None:
    check([own(8011, "castle-worker-2"), own(8010, "castle-worker-1", tags=frozenset({"talos"}))])


def test_a_vm_that_pulumi_creates_in_this_run_is_recorded() -> None:
    """A replaced VM has the same VM id, so only Pulumi knows that it is another VM."""
    checks = check([own(8010, "castle-worker-1")])
    (hook,) = checks.vms.hooks["castle-worker-1"].after_create or []
    assert isinstance(hook, Hook) and not (hook.opts and hook.opts.on_dry_run)
    assert checks.findings.machine_states["castle-worker-1"] == "off"
    hook.callback(
        pulumi.ResourceHookArgs(
            urn="", id="", name="", type="", new_inputs={"name": "castle-worker-1"}
        )
    )
    assert checks.findings.machine_states["castle-worker-1"] == "created"


CREATED = pulumi.ResourceHookArgs(
    urn="", id="", name="", type="", new_inputs={"name": "castle-worker-1"}
)


@pytest.mark.parametrize(("is_known", "state"), [(True, "created"), (False, "")])
def test_a_configured_vm_that_is_not_in_the_state_is_not_recorded_as_created(
    monkeypatch: pytest.MonkeyPatch, is_known: bool, state: str
) -> None:
    """Its node is a member of the cluster, so the program must not remove it from the cluster."""
    monkeypatch.setattr(
        "lifecycle.operations.node_replacement.is_in_maintenance", lambda address, limit: False
    )
    guest = own(8010, "castle-worker-1", is_running=True)
    known = {"castle-worker-1": RunningMachine(name="castle-worker-1")} if is_known else {}
    checks = check([guest], running=RunningStack(machines=known, has_machine_secrets=True))
    (hook,) = checks.vms.hooks["castle-worker-1"].after_create or []
    assert isinstance(hook, Hook)
    hook.callback(CREATED)
    assert checks.findings.machine_states["castle-worker-1"] == state


@pytest.mark.parametrize(
    ("talos", "kubernetes", "fix"),
    [
        ("v1.13.9", "v1.36.3", ""),
        ("v1.13.9", "v1.36.2 v1.36.3", ""),  # an interrupted upgrade continues
        ("v1.13.0", "v1.36.3", "Set cluster.talos to v1.13.0 and run `make up`"),
        ("v1.13.9", "v1.36.2", "Set cluster.kubernetes to v1.36.2 and run `make up`"),
    ],
)
def test_an_upgrade_is_refused_while_a_control_plane_is_lost(
    talos: str, kubernetes: str, fix: str
) -> None:
    lost = RunningMachine(name="castle-control-plane-1", has_come_up=True)
    running = RunningStack(
        machines={lost.name: lost}, talos=talos, kubernetes=frozenset(kubernetes.split())
    )
    if not fix:
        assert check([], running=running).findings.machine_states[lost.name] == "gone"
        return
    with pytest.raises(pulumi.RunError, match="castle-control-plane-1 is lost") as refused:
        check([], running=running)
    assert fix in str(refused.value) and "Nothing has been touched" in str(refused.value)


def test_each_vm_has_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"192.168.1.253": False, "192.168.1.155": True}
    limits: list[float] = []

    def is_in_maintenance(address: str, limit: float) -> bool:
        limits.append(limit)
        return answers[address]

    monkeypatch.setattr(node_replacement, "is_in_maintenance", is_in_maintenance)
    guests = [
        own(8000, NAMES[0], is_running=True, uptime_s=500),
        own(8010, NAMES[1], is_running=True, uptime_s=100, tags=frozenset()),
        own(8011, NAMES[2]),
    ]
    found = check(guests).findings.machine_states
    assert found == dict(zip(NAMES, ("", "blank", "off", "gone"), strict=True))
    assert sorted(limits) == [-380, 20]


def test_a_vm_whose_status_proxmox_does_not_know_yet_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_in_maintenance(address: str, limit: float) -> bool:
        return address == "192.168.1.155" and limit == 0

    monkeypatch.setattr(node_replacement, "is_in_maintenance", is_in_maintenance)
    guests = [own(vm_id, has_unknown_status=True) for vm_id in (8000, 8010)]
    found = check(guests).findings.machine_states
    assert [found[name] for name in NAMES[:2]] == ["off", "blank"]


@pytest.mark.parametrize(
    ("lock", "end"),
    [
        ("", "; `make up` starts it."),
        ("backup", "run there as root `qm unlock 8010`, then run `make up`, which starts it."),
    ],
)
def test_a_warning_tells_how_a_vm_starts_that_is_off(
    monkeypatch: pytest.MonkeyPatch, lock: str, end: str
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    monkeypatch.setattr(node_replacement, "is_in_maintenance", lambda address, limit: False)
    check([own(8000, NAMES[0], is_running=True), own(8010, NAMES[1], lock=lock)])
    [warning] = [it for it in warnings if "switched off" in it]
    assert warning.startswith("castle-worker-1 (VM 8010 on pve) is switched off")
    assert warning.endswith(end)
    assert (f"locked ({lock})" in warning) is bool(lock)


def test_a_control_plane_that_is_switched_off_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    monkeypatch.setattr(node_replacement, "is_in_maintenance", lambda address, limit: False)
    check([own(8000, NAMES[0], is_running=False), own(8010, NAMES[1], is_running=True)])
    assert NO_CONTROL_PLANE not in warnings


@pytest.mark.parametrize("blank", [{8000}, {8000, 8010}, {8010}])
def test_a_warning_is_logged_if_no_control_plane_is_left(
    monkeypatch: pytest.MonkeyPatch, blank: set[int]
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    addresses = {"192.168.1.253": 8000, "192.168.1.155": 8010, "192.168.1.156": 8011}
    monkeypatch.setattr(
        node_replacement, "is_in_maintenance", lambda address, limit: addresses[address] in blank
    )
    guests = [own(number, is_running=True) for number in addresses.values()]
    check(guests)
    assert (NO_CONTROL_PLANE in warnings) is (8000 in blank)
    assert sum("has no machine config" in line for line in warnings) == len(blank)


def test_the_removal_of_a_node_needs_talosctl(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(talos: str) -> None:
        raise OperationError("This change needs talosctl, which is not on PATH.")

    monkeypatch.setattr(talosctl, "require", missing)
    monkeypatch.setattr(node_replacement, "is_in_maintenance", lambda address, limit: False)
    fourth = own(8013, "castle-worker-4")
    with pytest.raises(pulumi.RunError, match="castle-worker-4: This change needs talosctl"):
        check([fourth])
    # A VM of another owner is not removed.
    check([Guest(8013, "nas", "pve", "qemu")])


def test_a_vm_on_another_host_than_in_the_state_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    moved = RunningMachine(name="castle-worker-1", vm_id=8010, host="pve2")
    stays = RunningMachine(name="castle-worker-2", vm_id=8011, host="pve")
    check([own(8010), own(8011)], running=running(moved, stays))
    (text,) = [line for line in warnings if "was moved" in line]
    assert text.startswith("castle-worker-1 was moved from pve2 to pve. It stays there")


def test_hardware_that_somebody_added_is_kept_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    net0 = f"virtio={mac_address(STACK_TAG, 8010)},bridge=vmbr0"
    config = {"net0": net0, "net1": f"virtio={MAC},bridge=vmbr1"}
    checks = check([own(8010, config=config, lock="backup")])
    assert "networkDevices" in checks.vms.kept_inputs[NAMES[1]]
    (text,) = [line for line in warnings if "has locked" in line]
    assert text.startswith("castle-worker-1 (VM 8010 on pve): Proxmox has locked the VM (backup)")


def test_an_update_of_a_locked_vm_is_refused_before_the_state_has_it() -> None:
    checks = check([own(8010, lock="backup"), own(8011)])
    (hook,) = checks.vms.hooks[NAMES[1]].before_update or []
    assert isinstance(hook, Hook)
    with pytest.raises(pulumi.RunError, match="castle-worker-1 was not changed: .*backup ends"):
        hook.callback(CREATED)
    assert not checks.vms.hooks[NAMES[2]].before_update
