"""One node's turn: whose it is, what it costs, when it is refused, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml

from clients.errors import OperationError
from clients.talos.machine_api import TalosCallError
from clients.talos.talosctl import Talosctl, TalosctlError, UnreachableError
from lifecycle.operations import config_rollout
from lifecycle.operations import node as operations
from lifecycle.operations.cluster_health import Cluster
from lifecycle.operations.drain import MARK
from lifecycle.operations.live_config import kubernetes_images
from lifecycle.operations.power import Power
from tests.lifecycle.operations.fake_cluster import FakeCluster, etcd, node, pod

NAME = "castle-worker-1"
OLD_PATCHES = ["machine: {env: {A: old}}\n"]
LIVE = """machine: {env: {A: old}, kubelet: {image: "kubelet:v1.36.3"}}
---
apiVersion: v1alpha1
kind: HostnameConfig
"""
NEWS: dict[str, Any] = {
    "cluster": "castle-of-a-test",
    "talos": "v1.13.9",
    "installer": "factory/nocloud-installer/abc:v1.13.9",
    "node": NAME,
    "address": "192.168.1.155",
    "control_plane": False,
    "control_planes": "castle-control-plane-1=192.168.1.253",
    "drain_s": 0,
    "return_s": 0,
    "rebuild_s": 0,
    "configuration": "machine: {kubelet: {image: 'kubelet:v1.36.9'}}\n",
    "patches": ["machine: {env: {A: new}}\n", "debug: true\n"],
    "proxmox_endpoint": "https://192.168.1.10:8006",
    "proxmox_insecure": False,
    "proxmox_token": "castle@pve!pulumi=11111111-2222-3333-4444-555555555555",
    "host": "pve",
    "vm_id": 8010,
}
WITHOUT_REBOOT = "Applied configuration without a reboot (skipped in dry-run)."
IMAGES = "machine:\n  kubelet:\n    image: kubelet:v1.36.3\n"
NEW = "machine: {env: {A: new}}\n---\ndebug: true\n---\n" + IMAGES


class Rack:
    """A cluster of three nodes, and a talosctl that knows what its nodes do with a config."""

    def __init__(self) -> None:
        self.api = FakeCluster(
            node(NAME) | node("castle-worker-2") | node("castle-control-plane-1")
        )
        self.talos = "v1.13.9"
        for name in ("castle-control-plane-1", "castle-worker-1", "castle-worker-2"):
            self.be(name, boot="first", is_ready=True)
        self.said = "Applied configuration with a reboot (skipped in dry-run)."
        self.in_maintenance = False
        self.has_new_hardware = False
        self.understands = True
        """Whether the Talos that runs takes the new config."""
        self.done: list[tuple[str, ...]] = []
        """What was done to the node: modes and configs that were sent, upgrades, power-cycles."""
        self.on_sent: Callable[[str], None] = lambda text: self.be(NAME, "second", is_ready=True)
        self.on_boot: Callable[[], None] = lambda: self.be(NAME, "second", is_ready=True)

    def be(self, name: str, boot: str, *, is_ready: bool) -> None:
        """Let Kubernetes see a node like this."""
        self.api.objects[f"/api/v1/nodes/{name}"]["status"] = {
            "nodeInfo": {"bootID": boot, "osImage": f"Talos ({self.talos})"},
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
        }

    def boot_new_talos(self) -> None:
        """Boot what an upgrade has installed."""
        self.talos, self.understands = "v1.13.9", True
        self.be(NAME, "second", is_ready=True)

    @property
    def node(self) -> dict[str, Any]:
        """The node in question."""
        found: dict[str, Any] = self.api.objects[f"/api/v1/nodes/{NAME}"]
        return found

    @property
    def sent(self) -> list[tuple[str, ...]]:
        """Modes and configs that were sent."""
        return [(what, text) for what, text in self.done if what not in ("upgrade", "cycle")]

    def is_cordoned(self) -> bool:
        return bool(self.node["spec"].get("unschedulable"))


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    """The rack that ``update_node`` finds; nobody waits on it."""
    found = Rack()

    class Tool(Talosctl):
        def __init__(self, _: Any) -> None:
            pass

        def run_once(self, address: str, *command: str, files: Sequence[str] = ()) -> str:
            if command[0] == "version":
                if not found.in_maintenance:
                    raise TalosctlError("tls: certificate required")
                return ""
            assert "--dry-run" in command
            if not found.understands:
                raise TalosctlError("unknown keys found during decoding")
            return found.said

        def run(
            self, address: str, *command: str, files: Sequence[str] = (), limit: float = 0
        ) -> str:
            assert "--dry-run" not in command
            if command[0] == "upgrade":
                found.done.append(("upgrade", "" if "--no-reboot" in command else "reboot"))
                if "--no-reboot" not in command:
                    found.on_boot()
                return ""
            text = "---\n".join(files[1:]) or files[0]
            # One text for several would be refused: two of them may be parts of one document.
            words = [word for word in command if "{" in word]
            assert words == ["{0}", *(f"@{{{n}}}" for n in range(1, len(files)))]
            found.done.append((command[2], text))
            if command[2] != "staged":
                found.on_sent(text)
            return ""

    class Living(Cluster):
        def __init__(self, props: Any) -> None:
            self.props, self.control_planes = props, []
            self.talos, self.api = Tool(props), found.api
            self._api_now = found.api
            self.etcd = etcd("castle-control-plane-1")

    def live(credentials: Any, address: str) -> str:
        if found.in_maintenance:
            raise TalosCallError("it has not taken up its machine config yet")
        return LIVE

    def cycle(_: Power) -> None:
        found.done.append(("cycle", ""))
        found.on_boot()

    monkeypatch.setattr(operations, "Cluster", Living)
    monkeypatch.setattr(config_rollout, "machine_config", live)
    monkeypatch.setattr(Power, "has_new_hardware", lambda _: found.has_new_hardware)
    monkeypatch.setattr(Power, "cycle", cycle)
    monkeypatch.setattr("clients.talos.talosctl.require", lambda talos: None)
    monkeypatch.setattr("lifecycle.operations.static_pods._CHANGE_LIMIT", 0)
    return found


def roll_out(props: dict[str, Any] = NEWS, old_patches: Sequence[str] = OLD_PATCHES) -> None:
    """Give the node its turn for a change of its patches."""
    operations.update_node(props, grows=False, old_patches=old_patches)


def test_the_images_of_kubernetes_are_those_that_run() -> None:
    assert kubernetes_images(LIVE) == IMAGES
    plane = {
        "machine": {"type": "controlplane", "kubelet": {"image": "kubelet:v1"}},
        "cluster": {
            "apiServer": {"image": "api:v1", "certSANs": ["a"]},
            "controllerManager": {"image": "manager:v1"},
            "scheduler": {"image": "scheduler:v1"},
            "proxy": {"image": "proxy:v1"},
            "etcd": {"image": "etcd:v3"},
        },
    }
    assert yaml.safe_load(kubernetes_images(yaml.safe_dump(plane))) == {
        "machine": {"kubelet": {"image": "kubelet:v1"}},
        "cluster": {
            "apiServer": {"image": "api:v1"},
            "controllerManager": {"image": "manager:v1"},
            "scheduler": {"image": "scheduler:v1"},
            "proxy": {"image": "proxy:v1"},
        },
    }


def test_a_version_a_config_and_memory_cost_one_drain_and_one_reboot(rack: Rack) -> None:
    rack.talos = "v1.13.0"
    rack.be(NAME, "first", is_ready=True)
    rack.has_new_hardware = True
    cordoned = []

    def boot() -> None:
        cordoned.append(rack.is_cordoned())
        rack.boot_new_talos()

    rack.on_boot = boot
    roll_out()
    assert rack.done == [("staged", NEW), ("upgrade", ""), ("cycle", "")]
    assert cordoned == [True]
    assert not rack.is_cordoned()


def test_a_version_and_a_config_cost_one_reboot(rack: Rack) -> None:
    rack.talos = "v1.13.0"
    rack.be(NAME, "first", is_ready=True)
    rack.on_boot = rack.boot_new_talos
    roll_out()
    assert rack.done == [("staged", NEW), ("upgrade", "reboot")]


def test_a_config_and_memory_cost_one_reboot(rack: Rack) -> None:
    rack.has_new_hardware = True
    roll_out()
    assert rack.done == [("staged", NEW), ("cycle", "")]


def test_an_old_talos_reboots_for_its_upgrade_before_its_power_cycle(rack: Rack) -> None:
    """It has no way to install without a reboot."""
    rack.talos = "v1.12.7"
    rack.be(NAME, "first", is_ready=True)
    rack.has_new_hardware = True
    boots = iter(["second", "third"])

    def boot() -> None:
        rack.talos = "v1.13.9"
        rack.be(NAME, next(boots), is_ready=True)

    rack.on_boot = boot
    roll_out()
    assert rack.done == [("staged", NEW), ("upgrade", "reboot"), ("cycle", "")]


def test_a_config_that_only_the_new_talos_understands_comes_after_the_upgrade(rack: Rack) -> None:
    rack.talos, rack.understands = "v1.13.0", False
    rack.be(NAME, "first", is_ready=True)
    rack.on_boot = rack.boot_new_talos
    rack.on_sent = lambda text: rack.be(NAME, "third", is_ready=True)
    roll_out()
    assert rack.done == [("upgrade", "reboot"), ("reboot", NEW)]
    assert not rack.is_cordoned()


def test_a_config_that_nobody_understands_touches_nothing(rack: Rack) -> None:
    rack.understands = False
    with pytest.raises(TalosctlError, match="unknown keys"):
        roll_out()
    assert rack.done == []


def test_an_upgrade_that_fails_takes_its_staged_config_back(
    rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    rack.talos = "v1.13.0"
    rack.be(NAME, "first", is_ready=True)

    def fail() -> None:
        raise TalosctlError("the image cannot be pulled")

    rack.on_boot = fail
    with pytest.raises(OperationError, match="could not be upgraded to v1.13.9"):
        roll_out()
    assert rack.done == [("staged", NEW), ("upgrade", "reboot"), ("staged", LIVE)]
    assert not rack.is_cordoned()


def test_a_node_is_drained_rebooted_and_takes_pods_again(rack: Rack) -> None:
    cordoned = []

    def take_up(text: str) -> None:
        cordoned.append(rack.is_cordoned())
        rack.be(NAME, "second", is_ready=True)

    rack.on_sent = take_up
    roll_out()
    assert rack.sent == [("reboot", NEW)]
    assert cordoned == [True]
    assert not rack.is_cordoned()


def test_a_turn_that_was_stopped_after_the_reboot_is_only_ended(rack: Rack) -> None:
    rack.said = WITHOUT_REBOOT
    rack.node["spec"]["unschedulable"] = True
    rack.node["metadata"]["annotations"] = {MARK: "yes"}
    roll_out()
    assert rack.sent == []
    assert not rack.is_cordoned()


def test_a_node_in_maintenance_mode_is_born_with_its_config(rack: Rack) -> None:
    rack.in_maintenance = True
    roll_out()
    assert rack.sent == []


def test_no_two_nodes_go_down_together(rack: Rack) -> None:
    rack.be("castle-worker-2", "first", is_ready=False)
    with pytest.raises(OperationError, match=r"no two nodes go down together.*castle-worker-2"):
        roll_out()
    assert rack.sent == []
    assert not rack.is_cordoned()


def test_a_drain_that_does_not_end_reboots_nothing(rack: Rack) -> None:
    rack.api.objects |= pod("whoami-1")
    rack.api.objects["/api/v1/pods/whoami-1"]["metadata"]["deletionTimestamp"] = "now"
    with pytest.raises(OperationError, match="was not rebooted"):
        roll_out()
    assert rack.sent == []
    assert not rack.is_cordoned()


def test_a_config_that_a_node_does_not_get_well_with_is_taken_back(rack: Rack) -> None:
    rack.on_sent = lambda text: rack.be(NAME, "later", is_ready="old" in text)
    with pytest.raises(OperationError, match="it has its old one again") as raised:
        roll_out()
    assert "Mend the patch, then run `up` again" in str(raised.value)
    assert [text for _, text in rack.sent] == [NEW, LIVE]
    assert not rack.is_cordoned()


def test_a_node_that_answers_no_more_stays_cordoned_and_is_named(rack: Rack) -> None:
    def go_away(text: str) -> None:
        rack.be(NAME, "first", is_ready=False)
        if "old" in text:
            raise UnreachableError("connection error")

    rack.on_sent = go_away
    with pytest.raises(OperationError, match=rf"{NAME} .* did not come back.*run `up` again"):
        roll_out()
    assert rack.is_cordoned()


def test_a_sick_node_gets_the_config_that_may_heal_it(rack: Rack) -> None:
    """Its pods cannot be asked to leave: they would hold it for ever."""
    rack.be(NAME, "first", is_ready=False)
    rack.api.objects |= pod("whoami-1")
    roll_out()
    assert [mode for mode, _ in rack.sent] == ["reboot"]
    assert rack.api.posted == []


APISERVER = "/api/v1/namespaces/kube-system/pods/kube-apiserver-castle-worker-1"


@pytest.mark.parametrize("is_right", [True, False])
def test_programs_begin_anew_and_have_their_old_config_again_if_they_fail(
    rack: Rack, is_right: bool
) -> None:
    rack.said = WITHOUT_REBOOT
    patch = "cluster: {apiServer: {extraArgs: {a: new}}}\n"
    plane = NEWS | {"control_plane": True, "patches": [patch]}
    program: dict[str, Any] = {"metadata": {"annotations": {}}, "status": {}}
    rack.api.objects[APISERVER] = program

    def begin_anew(text: str) -> None:
        program["metadata"]["annotations"]["talos.dev/config-version"] = text
        ready = is_right or "new" not in text
        program["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]

    rack.on_sent = begin_anew
    if is_right:
        with pytest.raises(OperationError, match="it is no member of etcd"):
            roll_out(
                NEWS | {"control_plane": True, "patches": [patch]}, []
            )  # a fake's etcd has no worker
        assert [mode for mode, _ in rack.sent] == ["no-reboot"]
        return
    with pytest.raises(OperationError, match=r"kube-apiserver .*did not come back with the new"):
        roll_out(plane, [])
    assert [(mode, "new" in text) for mode, text in rack.sent] == [
        ("no-reboot", True),
        ("no-reboot", False),
    ]
