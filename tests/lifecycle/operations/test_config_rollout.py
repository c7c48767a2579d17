"""Updates of one node: number of reboots, refusals, and the return to the old config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml

from clients.errors import OperationError
from clients.talos.errors import UNKNOWN, TalosError
from clients.talos.talosctl import Talosctl
from clients.talos.upgrade import TalosUpgrade
from lifecycle.operations import config_rollout
from lifecycle.operations import node as operations
from lifecycle.operations.cluster import Cluster
from lifecycle.operations.drain import CORDONED_BY_US
from lifecycle.operations.power import Power
from tests.lifecycle.operations.fake_cluster import FakeCluster, etcd, node, node_context, pod

NAME = "castle-worker-1"
ADDRESS = "10.0.0.1"
OLD_PATCHES = ["machine: {env: {A: old}}\n"]
LIVE = """machine: {env: {A: old}, kubelet: {image: "kubelet:v1.36.3"}}
---
apiVersion: v1alpha1
kind: HostnameConfig
"""
WITHOUT_REBOOT = "Applied configuration without a reboot (skipped in dry-run)."
IMAGES = "machine:\n  kubelet:\n    image: kubelet:v1.36.3\n"
NEW = "machine: {env: {A: new}}\n---\ndebug: true\n---\n" + IMAGES


class FakeNodes:
    """Three nodes in a fake Kubernetes API, and the behaviour of a fake talosctl."""

    def __init__(self) -> None:
        self.api = FakeCluster(
            node(NAME) | node("castle-worker-2") | node("castle-control-plane-1")
        )
        self.talos = "v1.13.9"
        for name in ("castle-control-plane-1", "castle-worker-1", "castle-worker-2"):
            self.set_status(name, boot="first", is_ready=True)
        self.dry_run_output = "Applied configuration with a reboot (skipped in dry-run)."
        self.in_maintenance = False
        self.has_new_hardware = False
        self.accepts_config = True
        """Whether the running Talos accepts the new config."""
        self.pull_error = ""
        """Why the installer image cannot be pulled; empty if it can."""
        self.upgrades: list[tuple[str, str, bool]] = []
        """Address, image, and whether the node was cordoned, of each pull."""
        self.done: list[tuple[str, ...]] = []
        """What the program did, in order: mode and text of each config, upgrades, power-cycles."""
        self.on_config: Callable[[str], None] = lambda text: self.set_status(
            NAME, "second", is_ready=True
        )
        self.on_boot: Callable[[], None] = lambda: self.set_status(NAME, "second", is_ready=True)

    def set_status(self, name: str, boot: str, *, is_ready: bool) -> None:
        """Set boot id and readiness of a node in Kubernetes."""
        self.api.objects[f"/api/v1/nodes/{name}"]["status"] = {
            "nodeInfo": {"bootID": boot, "osImage": f"Talos ({self.talos})"},
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
        }

    def boot_new_talos(self) -> None:
        """Boot the Talos that an upgrade has installed."""
        self.talos, self.accepts_config = "v1.13.9", True
        self.set_status(NAME, "second", is_ready=True)

    @property
    def node(self) -> dict[str, Any]:
        """The Kubernetes node that is updated."""
        found: dict[str, Any] = self.api.objects[f"/api/v1/nodes/{NAME}"]
        return found

    @property
    def sent(self) -> list[tuple[str, ...]]:
        """Mode and text of each config that was sent."""
        return [(what, text) for what, text in self.done if what not in ("upgrade", "cycle")]

    def is_cordoned(self) -> bool:
        return bool(self.node["spec"].get("unschedulable"))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    """The nodes that ``update_node`` works on; waits end at once."""
    found = FakeNodes()

    class FakeTalosctl(Talosctl):
        def __init__(self, _: Any) -> None:
            pass

        def run_once(self, address: str, *command: str, files: Sequence[str] = ()) -> str:
            if command[0] == "version":
                if not found.in_maintenance:
                    raise TalosError("talosctl", ADDRESS, "tls: certificate required", UNKNOWN)
                return ""
            assert "--dry-run" in command
            if not found.accepts_config:
                raise TalosError("talosctl", ADDRESS, "unknown keys found during decoding", UNKNOWN)
            return found.dry_run_output

        def run(
            self, address: str, *command: str, files: Sequence[str] = (), limit: float = 0
        ) -> str:
            assert "--dry-run" not in command
            text = "---\n".join(files[1:]) or files[0]
            # Each patch is its own file: Talos refuses one file with two parts of one document.
            words = [word for word in command if "{" in word]
            assert words == ["{0}", *(f"@{{{n}}}" for n in range(1, len(files)))]
            found.done.append((command[2], text))
            if command[2] != "staged":
                found.on_config(text)
            return ""

    class FakeUpgrade(TalosUpgrade):
        def pull(self) -> None:
            found.upgrades.append((self._address, self._image, found.is_cordoned()))
            if found.pull_error:
                raise TalosError("Pull", self._address, found.pull_error, UNKNOWN)

        def install(self) -> None:
            assert found.talos != "v1.12.7"
            found.done.append(("upgrade", ""))

        def reboot(self) -> None:
            found.done[-1] = ("upgrade", "reboot")
            found.on_boot()

        def install_and_reboot(self) -> None:
            assert found.talos == "v1.12.7"
            found.done.append(("upgrade", "reboot"))
            found.on_boot()

    class FakeClients(Cluster):
        def __init__(self, context: Any, credentials: Any) -> None:
            self.context, self.talos, self.api = context, FakeTalosctl(credentials), found.api
            self._api_now = found.api
            self.etcd = etcd("castle-control-plane-1")

    def live(credentials: Any, address: str) -> str:
        if found.in_maintenance:
            raise TalosError("Get", ADDRESS, "it has not applied its machine config yet")
        return LIVE

    def cycle(_: Power) -> None:
        found.done.append(("cycle", ""))
        found.on_boot()

    monkeypatch.setattr(operations, "Cluster", FakeClients)
    monkeypatch.setattr(operations, "TalosUpgrade", FakeUpgrade)
    monkeypatch.setattr(operations, "context_of", lambda _: None)
    monkeypatch.setattr(config_rollout, "machine_config", live)
    monkeypatch.setattr(Power, "has_new_hardware", lambda _: found.has_new_hardware)
    monkeypatch.setattr(Power, "cycle", cycle)
    monkeypatch.setattr("clients.talos.talosctl.require", lambda talos: None)
    monkeypatch.setattr("lifecycle.operations.config_rollout._RESTART_TIMEOUT_S", 0)
    return found


def roll_out(old_patches: Sequence[str] = OLD_PATCHES, **changes: Any) -> None:
    """Update the node after a change of its patches. ``changes`` are fields of its context."""
    operations.update_node(node_context(**changes), grows=False, old_patches=old_patches)


def test_the_running_kubernetes_images_are_read_from_the_machine_config() -> None:
    assert config_rollout.kubernetes_images(LIVE) == IMAGES
    config = {
        "machine": {"type": "controlplane", "kubelet": {"image": "kubelet:v1"}},
        "cluster": {
            "apiServer": {"image": "api:v1", "certSANs": ["a"]},
            "controllerManager": {"image": "manager:v1"},
            "scheduler": {"image": "scheduler:v1"},
            "proxy": {"image": "proxy:v1"},
            "etcd": {"image": "etcd:v3"},
        },
    }
    assert yaml.safe_load(config_rollout.kubernetes_images(yaml.safe_dump(config))) == {
        "machine": {"kubelet": {"image": "kubelet:v1"}},
        "cluster": {
            "apiServer": {"image": "api:v1"},
            "controllerManager": {"image": "manager:v1"},
            "scheduler": {"image": "scheduler:v1"},
            "proxy": {"image": "proxy:v1"},
        },
    }


def test_a_new_version_config_and_memory_need_one_drain_and_one_reboot(nodes: FakeNodes) -> None:
    nodes.talos = "v1.13.0"
    nodes.set_status(NAME, "first", is_ready=True)
    nodes.has_new_hardware = True
    cordoned = []

    def boot() -> None:
        cordoned.append(nodes.is_cordoned())
        nodes.boot_new_talos()

    nodes.on_boot = boot
    roll_out()
    assert nodes.done == [("staged", NEW), ("upgrade", ""), ("cycle", "")]
    assert cordoned == [True]
    assert not nodes.is_cordoned()


def test_a_new_version_and_config_need_one_reboot(nodes: FakeNodes) -> None:
    nodes.talos = "v1.13.0"
    nodes.set_status(NAME, "first", is_ready=True)
    nodes.on_boot = nodes.boot_new_talos
    roll_out()
    assert nodes.done == [("staged", NEW), ("upgrade", "reboot")]


def test_the_image_is_pulled_before_the_node_is_drained(nodes: FakeNodes) -> None:
    nodes.talos = "v1.13.0"
    nodes.set_status(NAME, "first", is_ready=True)
    nodes.on_boot = nodes.boot_new_talos
    roll_out()
    image = "factory/nocloud-installer/abc:v1.13.9"
    assert nodes.upgrades == [("192.168.1.155", image, False)]


def test_an_image_that_cannot_be_pulled_changes_nothing(nodes: FakeNodes) -> None:
    nodes.talos, nodes.pull_error = "v1.13.0", "dial tcp: no such host"
    nodes.set_status(NAME, "first", is_ready=True)
    with pytest.raises(OperationError, match="it cannot pull factory/.*: dial tcp: no such host"):
        roll_out()
    assert nodes.done == []
    assert "unschedulable" not in nodes.node["spec"]


def test_a_config_that_only_restarts_components_is_staged_for_an_upgrade(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifecycle.operations.snapshots.is_fresh", lambda _: True)
    nodes.talos, nodes.dry_run_output = "v1.13.0", WITHOUT_REBOOT
    nodes.set_status(NAME, "first", is_ready=True)
    nodes.on_boot = nodes.boot_new_talos
    with pytest.raises(OperationError, match="the node is not a member of etcd"):
        # The fake etcd has no member of this name.
        roll_out([], control_plane=True, patches=["cluster: {apiServer: {extraArgs: {a: b}}}\n"])
    assert [what for what, _ in nodes.done] == ["staged", "upgrade"]


def test_a_config_that_the_new_talos_rejects_too_is_an_error(nodes: FakeNodes) -> None:
    nodes.talos, nodes.accepts_config = "v1.13.0", False
    nodes.set_status(NAME, "first", is_ready=True)

    def boot() -> None:
        nodes.boot_new_talos()
        nodes.accepts_config = False

    nodes.on_boot = boot
    with pytest.raises(TalosError, match="unknown keys"):
        roll_out()
    assert nodes.sent == []


def test_a_new_config_and_memory_need_one_reboot(nodes: FakeNodes) -> None:
    nodes.has_new_hardware = True
    roll_out()
    assert nodes.done == [("staged", NEW), ("cycle", "")]


def test_a_talos_before_1_13_reboots_for_the_upgrade_and_for_the_power_cycle(
    nodes: FakeNodes,
) -> None:
    """It cannot install an upgrade without a reboot."""
    nodes.talos = "v1.12.7"
    nodes.set_status(NAME, "first", is_ready=True)
    nodes.has_new_hardware = True
    boots = iter(["second", "third"])

    def boot() -> None:
        nodes.talos = "v1.13.9"
        nodes.set_status(NAME, next(boots), is_ready=True)

    nodes.on_boot = boot
    roll_out()
    assert nodes.done == [("staged", NEW), ("upgrade", "reboot"), ("cycle", "")]


def test_a_config_that_only_the_new_talos_accepts_is_sent_after_the_upgrade(
    nodes: FakeNodes,
) -> None:
    nodes.talos, nodes.accepts_config = "v1.13.0", False
    nodes.set_status(NAME, "first", is_ready=True)
    nodes.on_boot = nodes.boot_new_talos
    nodes.on_config = lambda text: nodes.set_status(NAME, "third", is_ready=True)
    roll_out()
    assert nodes.done == [("upgrade", "reboot"), ("reboot", NEW)]
    assert not nodes.is_cordoned()


def test_a_config_that_talos_rejects_changes_nothing(nodes: FakeNodes) -> None:
    nodes.accepts_config = False
    with pytest.raises(TalosError, match="unknown keys"):
        roll_out()
    assert nodes.done == []


def test_a_failed_upgrade_restores_the_staged_config(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.talos = "v1.13.0"
    nodes.set_status(NAME, "first", is_ready=True)

    def fail() -> None:
        raise TalosError("talosctl", ADDRESS, "the image cannot be pulled", UNKNOWN)

    nodes.on_boot = fail
    with pytest.raises(OperationError, match="could not be upgraded to v1.13.9"):
        roll_out()
    assert nodes.done == [("staged", NEW), ("upgrade", "reboot"), ("staged", LIVE)]
    assert not nodes.is_cordoned()


def test_a_node_is_drained_rebooted_and_uncordoned(nodes: FakeNodes) -> None:
    cordoned = []

    def apply_config(text: str) -> None:
        cordoned.append(nodes.is_cordoned())
        nodes.set_status(NAME, "second", is_ready=True)

    nodes.on_config = apply_config
    roll_out()
    assert nodes.sent == [("reboot", NEW)]
    assert cordoned == [True]
    assert not nodes.is_cordoned()


def test_an_update_that_was_stopped_after_the_reboot_only_uncordons(nodes: FakeNodes) -> None:
    nodes.dry_run_output = WITHOUT_REBOOT
    nodes.node["spec"]["unschedulable"] = True
    nodes.node["metadata"]["annotations"] = {CORDONED_BY_US: "yes"}
    roll_out()
    assert nodes.sent == []
    assert not nodes.is_cordoned()


def test_a_node_in_maintenance_mode_gets_no_config_from_the_rollout(nodes: FakeNodes) -> None:
    nodes.in_maintenance = True
    roll_out()
    assert nodes.sent == []


def test_a_node_is_not_rebooted_while_another_one_is_not_ready(nodes: FakeNodes) -> None:
    nodes.set_status("castle-worker-2", "first", is_ready=False)
    with pytest.raises(
        OperationError, match=r"two nodes must not be down at the same time.*castle-worker-2"
    ):
        roll_out()
    assert nodes.sent == []
    assert not nodes.is_cordoned()


def test_a_drain_that_times_out_reboots_nothing(nodes: FakeNodes) -> None:
    nodes.api.objects |= pod("whoami-1")
    nodes.api.objects["/api/v1/pods/whoami-1"]["metadata"]["deletionTimestamp"] = "now"
    with pytest.raises(OperationError, match="was not rebooted"):
        roll_out()
    assert nodes.sent == []
    assert not nodes.is_cordoned()


def test_a_config_that_makes_a_node_unready_is_rolled_back(nodes: FakeNodes) -> None:
    nodes.on_config = lambda text: nodes.set_status(NAME, "later", is_ready="old" in text)
    with pytest.raises(OperationError, match="`up` restored the old config") as raised:
        roll_out()
    assert "Correct the patch, then run `up` again" in str(raised.value)
    assert [text for _, text in nodes.sent] == [NEW, LIVE]
    assert not nodes.is_cordoned()


def test_a_node_that_does_not_come_back_stays_cordoned_and_is_named(nodes: FakeNodes) -> None:
    def fail(text: str) -> None:
        nodes.set_status(NAME, "first", is_ready=False)
        if "old" in text:
            raise TalosError("talosctl", ADDRESS, "connection error")

    nodes.on_config = fail
    with pytest.raises(OperationError, match=rf"{NAME} .* did not come back.*run `up` again"):
        roll_out()
    assert nodes.is_cordoned()


def test_a_node_that_is_not_ready_gets_the_config_without_a_drain(nodes: FakeNodes) -> None:
    """Its pods cannot be evicted, so a drain would never end."""
    nodes.set_status(NAME, "first", is_ready=False)
    nodes.api.objects |= pod("whoami-1")
    roll_out()
    assert [mode for mode, _ in nodes.sent] == ["reboot"]
    assert nodes.api.posted == []


APISERVER = "/api/v1/namespaces/kube-system/pods/kube-apiserver-castle-worker-1"


@pytest.mark.parametrize("is_right", [True, False])
def test_components_restart_and_get_their_old_config_back_if_they_fail(
    nodes: FakeNodes, is_right: bool
) -> None:
    nodes.dry_run_output = WITHOUT_REBOOT
    patch = "cluster: {apiServer: {extraArgs: {a: new}}}\n"
    api_server: dict[str, Any] = {"metadata": {"annotations": {}}, "status": {}}
    nodes.api.objects[APISERVER] = api_server

    def restart(text: str) -> None:
        api_server["metadata"]["annotations"]["talos.dev/config-version"] = text
        ready = is_right or "new" not in text
        api_server["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]

    nodes.on_config = restart
    if is_right:
        with pytest.raises(OperationError, match="the node is not a member of etcd"):
            # The fake etcd has no member of this name.
            roll_out([], control_plane=True, patches=[patch])
        assert [mode for mode, _ in nodes.sent] == ["no-reboot"]
        return
    with pytest.raises(OperationError, match=r"kube-apiserver .*did not come back with the new"):
        roll_out([], control_plane=True, patches=[patch])
    assert [(mode, "new" in text) for mode, text in nodes.sent] == [
        ("no-reboot", True),
        ("no-reboot", False),
    ]
