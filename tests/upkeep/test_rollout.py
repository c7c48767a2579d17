"""A config's way to one node: whose turn it is, when it is not, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.upkeep.house import House, etcd, node, pod
from upkeep import rollout
from upkeep.cluster import Cluster
from upkeep.drain import MARK
from upkeep.errors import UpkeepError
from upkeep.talosctl import Talosctl, TalosctlError, UnreachableError

NAME = "castle-worker-1"
PROPS: dict[str, Any] = {
    "cluster": "castle-of-a-test",
    "talos": "v1.13.9",
    "node": NAME,
    "address": "192.168.1.155",
    "control_plane": False,
    "control_planes": "castle-control-plane-1=192.168.1.253",
    "drain_s": 0,
    "return_s": 0,
    "rebuild_s": 0,
    "configuration": "machine: {}\n",
    "patches": ["machine: {env: {A: old}}\n"],
}
NEWS = PROPS | {"patches": ["machine: {env: {A: new}}\n", "debug: true\n"]}


class Rack:
    """A cluster of three nodes, and a talosctl that knows what its nodes do with a config."""

    def __init__(self) -> None:
        self.api = House(node(NAME) | node("castle-worker-2") | node("castle-control-plane-1"))
        for name in ("castle-control-plane-1", "castle-worker-1", "castle-worker-2"):
            self.be(name, boot="first", is_ready=True)
        self.said = "Applied configuration with a reboot (skipped in dry-run)."
        self.in_maintenance = False
        self.sent: list[tuple[str, str]] = []
        """Modes and configs that were sent, dry runs left out."""
        self.on_sent: Callable[[str], None] = lambda text: self.be(NAME, "second", is_ready=True)

    def be(self, name: str, boot: str, *, is_ready: bool) -> None:
        """Let Kubernetes see a node like this."""
        self.api.objects[f"/api/v1/nodes/{name}"]["status"] = {
            "nodeInfo": {"bootID": boot, "osImage": "Talos (v1.13.9)"},
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
        }

    @property
    def node(self) -> dict[str, Any]:
        """The node in question."""
        found: dict[str, Any] = self.api.objects[f"/api/v1/nodes/{NAME}"]
        return found

    def is_cordoned(self) -> bool:
        return bool(self.node["spec"].get("unschedulable"))


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    """The rack that ``roll_out`` finds; nobody waits on it."""
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
            if found.in_maintenance:
                raise UnreachableError("connection error: unknown authority")
            return found.said

        def run(
            self, address: str, *command: str, files: Sequence[str] = (), limit: float = 0
        ) -> str:
            assert "--dry-run" not in command
            assert files[0] == PROPS["configuration"]
            # One text for several would be refused: two of them may be parts of one document.
            assert [word for word in command if "{" in word] == ["{0}", "@{1}", "@{2}"][
                : len(files)
            ]
            text = "---\n".join(files[1:])
            found.sent.append((command[2], text))
            found.on_sent(text)
            return ""

    class Living(Cluster):
        def __init__(self, props: Any) -> None:
            self.props, self.control_planes = props, []
            self.talos, self.api = Tool(props), found.api
            self._api_now = found.api
            self.etcd = etcd("castle-control-plane-1")

    monkeypatch.setattr(rollout, "Talosctl", Tool)
    monkeypatch.setattr(rollout, "Cluster", Living)
    monkeypatch.setattr("upkeep.talosctl.require", lambda talos: None)
    monkeypatch.setattr("upkeep.static_pods._CHANGE_LIMIT", 0)
    return found


def test_a_node_is_drained_rebooted_and_takes_pods_again(rack: Rack) -> None:
    cordoned = []

    def take_up(text: str) -> None:
        cordoned.append(rack.is_cordoned())
        rack.be(NAME, "second", is_ready=True)

    rack.on_sent = take_up
    rollout.roll_out(PROPS, NEWS)
    assert rack.sent == [("reboot", "machine: {env: {A: new}}\n---\ndebug: true\n")]
    assert cordoned == [True]
    assert not rack.is_cordoned()


def test_a_turn_that_was_stopped_after_the_reboot_is_only_ended(rack: Rack) -> None:
    rack.said = "Applied configuration without a reboot (skipped in dry-run)."
    rack.node["spec"]["unschedulable"] = True
    rack.node["metadata"]["annotations"] = {MARK: "yes"}
    rollout.roll_out(PROPS, NEWS)
    assert rack.sent == []
    assert not rack.is_cordoned()


def test_a_node_in_maintenance_mode_is_born_with_its_config(rack: Rack) -> None:
    rack.in_maintenance = True
    rollout.roll_out(PROPS, NEWS)
    assert rack.sent == []


def test_no_two_nodes_go_down_together(rack: Rack) -> None:
    rack.be("castle-worker-2", "first", is_ready=False)
    with pytest.raises(UpkeepError, match=r"no two nodes go down together.*castle-worker-2"):
        rollout.roll_out(PROPS, NEWS)
    assert rack.sent == []
    assert not rack.is_cordoned()


def test_a_drain_that_does_not_end_reboots_nothing(rack: Rack) -> None:
    rack.api.objects |= pod("whoami-1")
    rack.api.objects["/api/v1/pods/whoami-1"]["metadata"]["deletionTimestamp"] = "now"
    with pytest.raises(UpkeepError, match="was not rebooted"):
        rollout.roll_out(PROPS, NEWS)
    assert rack.sent == []
    assert not rack.is_cordoned()


def test_a_config_that_a_node_does_not_get_well_with_is_taken_back(rack: Rack) -> None:
    rack.on_sent = lambda text: rack.be(NAME, "later", is_ready="old" in text)
    with pytest.raises(UpkeepError, match="it has its old one again") as raised:
        rollout.roll_out(PROPS, NEWS)
    assert "Mend the patch, then run `up` again" in str(raised.value)
    assert [text for _, text in rack.sent] == [
        "machine: {env: {A: new}}\n---\ndebug: true\n",
        "machine: {env: {A: old}}\n",
    ]
    assert not rack.is_cordoned()


def test_a_node_that_answers_no_more_stays_cordoned_and_is_named(rack: Rack) -> None:
    def go_away(text: str) -> None:
        rack.be(NAME, "first", is_ready=False)
        if "old" in text:
            raise UnreachableError("connection error")

    rack.on_sent = go_away
    with pytest.raises(UpkeepError, match=rf"{NAME} .* did not come back.*run `up` again"):
        rollout.roll_out(PROPS, NEWS)
    assert rack.is_cordoned()


def test_a_sick_node_gets_the_config_that_may_heal_it(rack: Rack) -> None:
    """Its pods cannot be asked to leave: they would hold it for ever."""
    rack.be(NAME, "first", is_ready=False)
    rack.api.objects |= pod("whoami-1")
    rollout.roll_out(PROPS, NEWS)
    assert [mode for mode, _ in rack.sent] == ["reboot"]
    assert rack.api.posted == []


APISERVER = "/api/v1/namespaces/kube-system/pods/kube-apiserver-castle-worker-1"


@pytest.mark.parametrize("is_right", [True, False])
def test_programs_begin_anew_and_have_their_old_config_again_if_they_fail(
    rack: Rack, is_right: bool
) -> None:
    rack.said = "Applied configuration without a reboot (skipped in dry-run)."
    olds = PROPS | {"control_plane": True, "node": NAME}
    patch = "cluster: {apiServer: {extraArgs: {a: new}}}\n"
    program: dict[str, Any] = {"metadata": {"annotations": {}}, "status": {}}
    rack.api.objects[APISERVER] = program

    def begin_anew(text: str) -> None:
        program["metadata"]["annotations"]["talos.dev/config-version"] = text
        ready = is_right or "new" not in text
        program["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]

    rack.on_sent = begin_anew
    if is_right:
        with pytest.raises(UpkeepError, match="it is no member of etcd"):
            rollout.roll_out(olds, olds | {"patches": [patch]})  # a fake's etcd has no worker
        assert [mode for mode, _ in rack.sent] == ["no-reboot"]
        return
    with pytest.raises(UpkeepError, match=r"kube-apiserver .*did not come back with the new"):
        rollout.roll_out(olds, olds | {"patches": [patch]})
    assert [(mode, "new" in text) for mode, text in rack.sent] == [
        ("no-reboot", True),
        ("no-reboot", False),
    ]
