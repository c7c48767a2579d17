"""The doctor before an ``up`` and with a running cluster: real engine and providers."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import HOME, Lab, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def troubles(lab: Lab) -> list[tuple[str, str]]:
    """What the doctor warns of, except that no time server answers: loopback has none, because
    NTP's port is privileged."""
    told = json.loads(lab.doctor().output)
    return [
        (it["check"], it["subject"])
        for it in told["findings"]
        if it["result"] in ("warning", "failure") and it["check"] != "time servers"
    ]


def at_home(lab: Lab) -> Lab:
    """Give the site a name that the doctor does not ask the DNS for."""
    lab.set("whoami.host", HOME)
    return lab


def test_an_up_is_looked_at_first_and_a_castle_that_stands_is_sound(make_lab: MakeLab) -> None:
    lab = at_home(make_lab("pve1", "pve2"))
    lab.set("traefik.acme", {"email": "me@tazlab.net"})
    assert troubles(lab) == []
    lab.set("network.bridge", "vmbr9")
    stopped = lab.make("up", doctor=True)
    assert stopped.code == 1, stopped.output
    assert "vmbr9 is not a bridge of pve1" in stopped.output
    assert "Nothing has been changed" in stopped.output
    assert lab.guests() == {} and lab.proxmox("GET", "/pools") == []
    lab.set("network.bridge", "vmbr0")
    built = lab.make("up", doctor=True)
    assert built.code == 0, built.output
    assert troubles(lab) == []
    lab.set("nodes.workers.count", 4)
    assert troubles(lab) == []
    lab.set("nodes.workers.count", 3)
    again = lab.make("up", doctor=True)
    assert (again.code, again.changes) == (0, {})
    assert lab.endpoints["api_token"].partition("=")[2] not in stopped.output + built.output
    assert lab.make("down").code == 0
    # The VMs of a stack are no conflict for the stack itself.
    assert troubles(lab) == []


def test_without_a_quorum_an_up_stops_before_its_first_change(make_lab: MakeLab) -> None:
    lab = at_home(make_lab("pve1", "pve2"))
    lab.control("POST", "/cluster", {"has_quorum": False})
    stopped = lab.make("up", doctor=True)
    assert stopped.code == 1, stopped.output
    assert "cluster rack has no quorum, so Proxmox refuses every change" in stopped.output
    assert "Nothing has been changed" in stopped.output
    methods = {it["method"] for it in lab.control("GET", "/requests") if it["api"] == "proxmox"}
    assert methods == {"GET"}
    # Without the doctor, Proxmox' own refusal is shown.
    refused = lab.make("up")
    assert refused.code == 1 and "no quorum" in refused.output, refused.output
    lab.control("POST", "/cluster", {"has_quorum": True})
    assert lab.make("down").code == 0
    assert lab.guests() == {} and lab.proxmox("GET", "/pools") == []


def test_the_token_is_opened_with_the_engines_own_passphrase(make_lab: MakeLab) -> None:
    lab = at_home(make_lab("pve1"))
    user = lab.endpoints["api_token"].partition("=")[0]
    wrong = f"{user}=00000000-0000-0000-0000-000000000000"
    key = "proxmoxve:apiToken"
    assert lab.pulumi("config", "set", "--secret", key, wrong, "--stack", lab.stack).code == 0
    refused = lab.doctor()
    assert refused.code == 1 and "401 Authentication failed!" in refused.output
    right = lab.endpoints["api_token"]
    assert lab.pulumi("config", "set", "--secret", key, right, "--stack", lab.stack).code == 0
    found = lab.doctor()
    assert found.code == 0, found.output
