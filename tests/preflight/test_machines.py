"""The look at Proxmox before anything is made: what it sees, refuses and says."""

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
from clients.proxmox.guests import Guest, GuestListError, list_guests, refusal, strangers
from clients.talos import talosctl
from components.image import TalosImageArgs
from components.machines import MachinesArgs
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
OWNER = "ephemeral-castle-homelab"
NAMES = ["castle-control-plane-1", *(f"castle-worker-{number}" for number in (1, 2, 3))]
NAS = Guest(8010, "precious-nas", "pve", "qemu", frozenset({"storage"}))
GUESTS = [
    {"vmid": 8010, "name": "precious-nas", "node": "pve", "type": "qemu", "tags": "storage"},
    {
        "vmid": 8011,
        "name": "castle-worker-2",
        "node": "pve",
        "type": "qemu",
        "tags": f"{OWNER};talos",
    },
    {"vmid": 200, "name": "dns", "node": "pve2", "type": "lxc", "pool": "house"},
]


class Proxmox:
    """A Proxmox of one answer, over TLS."""

    def __init__(self) -> None:
        self.status = 200
        self.body = json.dumps({"data": GUESTS})
        self.headers: dict[str, str] = {}
        self.unseen: set[int] = set()
        """Ids that a guest has which the token may not audit."""
        self.next_id_status = 200
        self.asked: list[tuple[str, str]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        proxmox = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxmox.asked.append((self.path, self.headers["Authorization"]))
                _, _, vm_id = self.path.partition("/cluster/nextid?vmid=")
                if vm_id:
                    taken = int(vm_id) in proxmox.unseen
                    self.send_response(400 if taken else proxmox.next_id_status)
                    self.end_headers()
                    self.wfile.write(json.dumps({"data": vm_id}).encode())
                    return
                self.send_response(proxmox.status, "authentication failure")
                for name, value in proxmox.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(proxmox.body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

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


def test_one_request_lists_machines_and_containers_of_all_hosts(proxmox: Proxmox) -> None:
    guests = list_guests(proxmox.endpoint(), [8010, 200])
    assert [(guest.vm_id, guest.name, guest.host, guest.pool) for guest in guests] == [
        (8010, "precious-nas", "pve", ""),
        (8011, "castle-worker-2", "pve", ""),
        (200, "dns", "pve2", "house"),
    ]
    assert proxmox.asked == [("/api2/json/cluster/resources?type=vm", f"PVEAPIToken={TOKEN}")]


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_told_without_the_token(proxmox: Proxmox, status: int) -> None:
    proxmox.status = status
    with pytest.raises(GuestListError, match=f"answers {status} authentication failure") as error:
        list_guests(proxmox.endpoint(), [8010, 200])
    assert "1111" not in str(error.value)


def test_an_unknown_certificate_is_refused_with_its_cure(proxmox: Proxmox) -> None:
    with pytest.raises(GuestListError, match="set proxmoxve:insecure to true"):
        list_guests(proxmox.endpoint(insecure=False), [])
    assert proxmox.asked == []


@pytest.mark.parametrize("body", ["not JSON", "{}", '{"data": null}', '{"data": [{}]}'])
def test_an_answer_that_makes_no_sense_is_an_error(proxmox: Proxmox, body: str) -> None:
    proxmox.body = body
    with pytest.raises(GuestListError, match="does not answer as it should"):
        list_guests(proxmox.endpoint(), [8010, 200])


def test_what_bears_our_tag_or_has_another_id_is_no_stranger() -> None:
    ours = Guest(8011, "castle-worker-2", "pve", "qemu", frozenset({OWNER}))
    elsewhere = Guest(200, "dns", "pve2", "lxc", frozenset())
    found = strangers([NAS, ours, elsewhere], settings_with().machines, OWNER)
    assert [(node.name, guest.name) for node, guest in found] == [
        ("castle-worker-1", "precious-nas")
    ]


def test_another_castles_machine_is_a_stranger() -> None:
    theirs = Guest(8000, "castle-control-plane-1", "pve", "qemu", frozenset({f"{OWNER}-two"}))
    assert len(strangers([theirs], settings_with().machines, OWNER)) == 1


OURS = frozenset({OWNER, "talos"})


def test_another_machine_of_ours_is_in_the_way_too() -> None:
    former = Guest(8010, "keep-worker-1", "pve", "qemu", OURS)
    ((node, guest),) = strangers([former], settings_with().machines, OWNER)
    text = refusal(node, guest, OWNER)
    assert "VM id 8010, wanted for castle-worker-1, is taken" in text
    assert "belongs to keep-worker-1 of this stack" in text
    assert "Set cluster.name" in text and "`make down` first" in text
    assert text.endswith("Nothing has been touched.")


@pytest.mark.parametrize("name", ["castle-worker-1", "", "VM 8010"])
def test_a_machine_of_ours_that_has_no_other_name_is_taken_up(name: str) -> None:
    """A run was killed a moment ago, and Proxmox does not tell the name yet."""
    made = Guest(8010, name, "pve", "qemu", OURS)
    assert strangers([made], settings_with().machines, OWNER) == []


def test_a_castle_that_is_renamed_is_refused_when_a_machine_is_made() -> None:
    """By a hook: what was renamed by hand, and is in the state, is not made."""
    guard = look([Guest(8010, "keep-worker-1", "pve", "qemu", OURS)])
    assert guard.new_cluster is None
    assert [name for name, it in guard.hooks.items() if it.before_create] == ["castle-worker-1"]
    assert "belongs to keep-worker-1 of this stack" in refused(guard.hooks["castle-worker-1"])


@pytest.mark.parametrize("preview", [True, False])
def test_ids_that_are_swapped_or_moved_on_are_refused_before_anything(preview: bool) -> None:
    """A machine that is made anew is deleted first, and only then comes a hook."""
    second = Guest(8010, "castle-worker-2", "pve", "qemu", OURS)
    first = Guest(8011, "castle-worker-1", "pve", "qemu", OURS)
    with pytest.raises(pulumi.RunError) as error:
        look([second, first], preview)
    assert "8010, wanted for castle-worker-1" in str(error.value)
    assert "8011, wanted for castle-worker-2" in str(error.value)


@pytest.mark.parametrize(
    "other", [NAS, Guest(8010, "castle-worker-4", "pve", "qemu", OURS)], ids=lambda it: it.name
)
def test_a_machine_that_lives_gets_no_id_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, other: Guest
) -> None:
    lives = Guest(8099, "castle-worker-1", "pve", "qemu", OURS)
    monkeypatch.setattr(talosctl, "require", lambda talos: None)
    with pytest.raises(pulumi.RunError, match=f"8010, wanted for castle-worker-1.*{other.name}"):
        look([other, lives])


def test_an_id_whose_guest_the_token_may_not_see_is_taken_too(proxmox: Proxmox) -> None:
    proxmox.unseen = {8012}
    guests = list_guests(proxmox.endpoint(), [8010, 8012, 8013])
    assert [guest.vm_id for guest in guests] == [8010, 8011, 200, 8012]
    ((node, guest),) = strangers([guests[-1]], settings_with().machines, OWNER)
    text = refusal(node, guest, OWNER)
    assert "VM id 8012" in text and "the guest 'one that the token may not see'" in text


def test_a_guest_without_a_name_is_refused_in_words(proxmox: Proxmox) -> None:
    """Proxmox lists a guest so at first, and while its host is silent: without a status, too."""
    proxmox.body = json.dumps({"data": [{"vmid": 8010, "node": "pve", "type": "qemu"}]})
    guests = list_guests(proxmox.endpoint())
    assert guests == [Guest(8010, "", "pve", "qemu", frozenset({""}))]
    ((node, guest),) = strangers(guests, settings_with().machines, OWNER)
    text = refusal(node, guest, OWNER)
    assert (
        "on pve it belongs to the virtual machine without a known name, which is not part" in text
    )


def test_a_refusal_to_talk_of_one_id_is_no_guest(proxmox: Proxmox) -> None:
    proxmox.next_id_status = 403
    assert len(list_guests(proxmox.endpoint(), [8012])) == len(GUESTS)


def test_the_token_follows_no_redirect(proxmox: Proxmox) -> None:
    proxmox.status = 302
    proxmox.headers = {"Location": f"https://127.0.0.1:{proxmox.server.server_port}/elsewhere"}
    with pytest.raises(GuestListError, match="answers 302"):
        list_guests(proxmox.endpoint(), [])
    assert len(proxmox.asked) == 1


def test_an_answer_that_is_cut_off_is_an_error(proxmox: Proxmox) -> None:
    proxmox.headers = {"Content-Length": "5000"}
    with pytest.raises(GuestListError, match="does not answer as it should"):
        list_guests(proxmox.endpoint(), [])


class Hook:
    """A resource hook, without the engine that it is registered with."""

    def __init__(self, name: str, callback: Any, opts: Any = None) -> None:
        self.name, self.callback, self.opts = name, callback, opts


@pytest.fixture(autouse=True)
def _hooks_without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "ResourceHook", Hook)


def look(
    guests: Any,
    preview: bool = True,
    running: RunningStack | None = None,
) -> MachineChecks:
    """What ``machines.check_machines`` returns in a preview or an ``up``."""
    found: list[MachineChecks] = []

    def answer(_: Endpoint, wanted: Iterable[int]) -> list[Guest]:
        assert wanted == [8000, 8010, 8011, 8012]
        if isinstance(guests, Exception):
            raise guests
        return list(guests)

    settings = settings_with(running=running or RunningStack())
    CURRENT.set(Sources(list_guests=answer))
    record(lambda: found.append(machines.check_machines(settings)), preview=preview)
    return found[0]


def refused(binding: pulumi.ResourceHookBinding | None) -> str:
    """What the hook says when the engine is about to create."""
    assert binding is not None and binding.before_create is not None
    (hook,) = binding.before_create
    assert isinstance(hook, Hook)
    assert hook.opts.on_dry_run is True
    with pytest.raises(RuntimeError) as error:
        hook.callback(pulumi.ResourceHookArgs(urn="", id="", name="", type=""))
    return str(error.value)


@pytest.mark.parametrize("preview", [True, False])
def test_with_nothing_in_the_way_nothing_is_hooked(preview: bool) -> None:
    assert look([], preview) == MachineChecks(
        findings=ClusterFindings(machine_states=dict.fromkeys(NAMES, "gone"))
    )


def test_a_preview_goes_on_where_proxmox_cannot_be_asked() -> None:
    assert look(GuestListError("no answer"), preview=True) == MachineChecks()


def test_an_up_ends_where_proxmox_cannot_be_asked() -> None:
    with pytest.raises(pulumi.RunError, match="no answer\nNothing has been touched"):
        look(GuestListError("no answer"), preview=False)


def test_a_taken_id_is_refused_with_id_name_and_cure() -> None:
    text = refused(look([NAS]).hooks["castle-worker-1"])
    assert "VM id 8010, wanted for castle-worker-1, is taken" in text
    assert "on pve it belongs to the virtual machine 'precious-nas'" in text
    assert "nodes.overrides" in text and OWNER in text


def test_a_machine_whose_own_id_is_free_is_made() -> None:
    assert set(look([NAS]).hooks) == {"castle-worker-1"}


def test_a_new_castle_begins_nothing_while_one_place_is_taken() -> None:
    assert "precious-nas" in refused(look([NAS]).new_cluster)


def test_a_living_castle_may_change_its_image_all_the_same() -> None:
    ours = Guest(8011, "castle-worker-2", "pve", "qemu", frozenset({OWNER}))
    lost_its_tag = Guest(8010, "castle-worker-1", "pve", "qemu", frozenset({"talos"}))
    guard = look([ours, lost_its_tag])
    assert guard.new_cluster is None
    assert [name for name, it in guard.hooks.items() if it.before_create] == ["castle-worker-1"]


def test_a_machine_that_the_engine_creates_in_this_run_is_noted() -> None:
    """One that is replaced has the same VM id: only the engine knows that it is another machine."""
    guard = look([Guest(8010, "castle-worker-1", "pve", "qemu", OURS)])
    (hook,) = guard.hooks["castle-worker-1"].after_create or []
    assert isinstance(hook, Hook) and not (hook.opts and hook.opts.on_dry_run)
    assert guard.findings.machine_states["castle-worker-1"] == "off"
    hook.callback(
        pulumi.ResourceHookArgs(
            urn="", id="", name="", type="", new_inputs={"name": "castle-worker-1"}
        )
    )
    assert guard.findings.machine_states["castle-worker-1"] == "created"


CREATED = pulumi.ResourceHookArgs(
    urn="", id="", name="", type="", new_inputs={"name": "castle-worker-1"}
)


@pytest.mark.parametrize(("is_known", "state"), [(True, "created"), (False, "")])
def test_a_machine_that_answers_and_is_not_in_the_state_is_adopted_and_not_created(
    monkeypatch: pytest.MonkeyPatch, is_known: bool, state: str
) -> None:
    """Its node is a member of the cluster: nothing of it may be removed there."""
    monkeypatch.setattr(
        "lifecycle.operations.node_replacement.wait_for_answer", lambda address, limit: False
    )
    guest = Guest(8010, "castle-worker-1", "pve", "qemu", OURS, is_running=True)
    known = {"castle-worker-1": RunningMachine(name="castle-worker-1")} if is_known else {}
    guard = look([guest], running=RunningStack(machines=known))
    (hook,) = guard.hooks["castle-worker-1"].after_create or []
    assert isinstance(hook, Hook)
    hook.callback(CREATED)
    assert guard.findings.machine_states["castle-worker-1"] == state


@pytest.mark.parametrize(
    ("talos", "kubernetes", "back"),
    [
        ("v1.13.9", "v1.36.3", ""),
        ("v1.13.9", "v1.36.2 v1.36.3", ""),  # an upgrade that was interrupted goes on
        ("v1.13.0", "v1.36.3", "Set cluster.talos to v1.13.0 and run `make up`"),
        ("v1.13.9", "v1.36.2", "Set cluster.kubernetes to v1.36.2 and run `make up`"),
    ],
)
def test_an_upgrade_waits_for_a_control_plane_that_is_lost(
    talos: str, kubernetes: str, back: str
) -> None:
    lost = RunningMachine(name="castle-control-plane-1", has_come_up=True)
    running = RunningStack(
        machines={lost.name: lost}, talos=talos, kubernetes=frozenset(kubernetes.split())
    )
    if not back:
        assert look([], running=running).findings.machine_states[lost.name] == "gone"
        return
    with pytest.raises(pulumi.RunError, match="castle-control-plane-1 is lost") as refused:
        look([], running=running)
    assert back in str(refused.value) and "Nothing has been touched" in str(refused.value)


def test_a_guard_reaches_what_it_guards() -> None:
    hooks = pulumi.ResourceHookBinding()
    settings = settings_with()
    assert TalosImageArgs.of(settings, hooks).hooks is hooks
    guards = {"castle-worker-1": hooks}
    assert MachinesArgs.of(settings, {}, guards).hooks == guards


def test_machines_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"192.168.1.253": False, "192.168.1.155": True}
    limits: list[float] = []

    def wait_for_answer(address: str, limit: float) -> bool:
        limits.append(limit)
        return answers[address]

    monkeypatch.setattr(node_replacement, "wait_for_answer", wait_for_answer)
    ours = frozenset({OWNER})
    guests = [
        Guest(8000, NAMES[0], "pve", "qemu", ours, is_running=True, uptime_s=500),
        # It has lost its tag.
        Guest(8010, NAMES[1], "pve", "qemu", is_running=True, uptime_s=100),
        Guest(8011, NAMES[2], "pve", "qemu", ours),
    ]
    found = look(guests).findings.machine_states
    assert found == dict(zip(NAMES, ("", "blank", "off", "gone"), strict=True))
    assert sorted(limits) == [-380, 20]


@pytest.mark.parametrize("blank", [{8000}, {8000, 8010}, {8010}])
def test_a_castle_without_a_control_plane_is_told_so(
    monkeypatch: pytest.MonkeyPatch, blank: set[int]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    addresses = {"192.168.1.253": 8000, "192.168.1.155": 8010, "192.168.1.156": 8011}
    monkeypatch.setattr(
        node_replacement, "wait_for_answer", lambda address, limit: addresses[address] in blank
    )
    guests = [
        Guest(number, "", "pve", "qemu", frozenset({OWNER}), is_running=True)
        for number in addresses.values()
    ]
    look(guests)
    assert (NO_CONTROL_PLANE in said) is (8000 in blank)
    assert sum("has no machine config" in line for line in said) == len(blank)


def test_who_is_to_leave_needs_talosctl(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(talos: str) -> None:
        raise OperationError("This change needs talosctl, which is not on PATH.")

    monkeypatch.setattr(talosctl, "require", missing)
    monkeypatch.setattr(node_replacement, "wait_for_answer", lambda address, limit: False)
    fourth = Guest(8013, "castle-worker-4", "pve", "qemu", frozenset({OWNER}))
    with pytest.raises(pulumi.RunError, match="castle-worker-4: This change needs talosctl"):
        look([fourth])
    # What is somebody else's is no business of ours.
    look([Guest(8013, "nas", "pve", "qemu")])
