"""The look at Proxmox before anything is made: what it sees, refuses and says."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pulumi
import pytest
import trustme
from pydantic import SecretStr

import survey
from settings.models import Endpoint
from survey import Guest, SurveyError, list_guests, strangers
from tests.recorder import record, settings_with

TOKEN = "castle@pve!pulumi=11111111-2222-3333-4444-555555555555"
OWNER = "ephemeral-castle-homelab"
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
    {"vmid": 200, "name": "dns", "node": "pve2", "type": "lxc"},
]


class Proxmox:
    """A Proxmox of one answer, over TLS."""

    def __init__(self) -> None:
        self.status = 200
        self.body = json.dumps({"data": GUESTS})
        self.asked: list[tuple[str, str]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        proxmox = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxmox.asked.append((self.path, self.headers["Authorization"]))
                self.send_response(proxmox.status, "authentication failure")
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
    guests = list_guests(proxmox.endpoint())
    assert [(guest.vm_id, guest.name, guest.host) for guest in guests] == [
        (8010, "precious-nas", "pve"),
        (8011, "castle-worker-2", "pve"),
        (200, "dns", "pve2"),
    ]
    assert proxmox.asked == [
        ("/api2/json/cluster/resources?type=vm", f"PVEAPIToken={TOKEN}"),
    ]


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_told_without_the_token(proxmox: Proxmox, status: int) -> None:
    proxmox.status = status
    with pytest.raises(SurveyError, match=f"answers {status} authentication failure") as error:
        list_guests(proxmox.endpoint())
    assert "1111" not in str(error.value)


def test_an_unknown_certificate_is_refused_with_its_cure(proxmox: Proxmox) -> None:
    with pytest.raises(SurveyError, match="set proxmoxve:insecure to true"):
        list_guests(proxmox.endpoint(insecure=False))
    assert proxmox.asked == []


@pytest.mark.parametrize("body", ["not JSON", "{}", '{"data": null}', '{"data": [{}]}'])
def test_an_answer_that_makes_no_sense_is_an_error(proxmox: Proxmox, body: str) -> None:
    proxmox.body = body
    with pytest.raises(SurveyError, match="does not answer as it should"):
        list_guests(proxmox.endpoint())


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


def look(monkeypatch: pytest.MonkeyPatch, guests: Any, preview: bool) -> Any:
    """What ``survey.look`` returns in a preview or an ``up``."""
    found: list[Any] = []

    def answer(_: Endpoint) -> list[Guest]:
        if isinstance(guests, Exception):
            raise guests
        return list(guests)

    monkeypatch.setattr(survey, "list_guests", answer)
    record(lambda: found.append(survey.look(settings_with())), preview=preview)
    return found[0]


@pytest.mark.parametrize("preview", [True, False])
def test_with_nothing_in_the_way_nothing_is_hooked(
    monkeypatch: pytest.MonkeyPatch, preview: bool
) -> None:
    assert look(monkeypatch, [], preview) is None


def test_a_preview_goes_on_where_proxmox_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, SurveyError("no answer"), preview=True) is None


def test_an_up_ends_where_proxmox_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pulumi.RunError, match="no answer\nNothing has been touched"):
        look(monkeypatch, SurveyError("no answer"), preview=False)


class Hook:
    """A resource hook, without the engine that it is registered with."""

    def __init__(self, name: str, callback: Any, opts: Any) -> None:
        self.name, self.callback, self.opts = name, callback, opts


def hook_for(monkeypatch: pytest.MonkeyPatch) -> Hook:
    monkeypatch.setattr(pulumi, "ResourceHook", Hook)
    (hook,) = look(monkeypatch, [NAS], preview=True).before_create
    assert isinstance(hook, Hook)
    return hook


def before_create(hook: Hook, type_: str, name: str) -> None:
    hook.callback(pulumi.ResourceHookArgs(urn="", id="", name=name, type=type_))


VM = "proxmoxve:index/vmLegacy:VmLegacy"


def test_a_taken_id_is_refused_in_preview_too_with_id_name_and_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = hook_for(monkeypatch)
    assert hook.opts.on_dry_run is True
    with pytest.raises(RuntimeError) as error:
        before_create(hook, VM, "machines-castle-worker-1")
    text = str(error.value)
    assert "VM id 8010, wanted for castle-worker-1, is taken" in text
    assert "on pve it is the virtual machine 'precious-nas'" in text
    assert "nodes.overrides" in text and OWNER in text


def test_a_machine_whose_own_id_is_free_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    before_create(hook_for(monkeypatch), VM, "machines-castle-worker-2")


def test_nothing_is_begun_that_a_refused_machine_would_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = hook_for(monkeypatch)
    with pytest.raises(RuntimeError, match="precious-nas"):
        before_create(hook, "talos:imageFactory/schematic:Schematic", "image-schematic")


def test_a_worker_of_two_figures_is_not_mistaken_for_one_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`castle-worker-1` is the end of no other name: `castle-worker-11` ends otherwise."""
    before_create(hook_for(monkeypatch), VM, "machines-castle-worker-11")
