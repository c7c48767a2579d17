"""One node's way through an upgrade or a power-cycle, and its leave.

Every step looks first at what is there already, so that a run that was stopped in the middle is
taken up by the next one. The node is drained before it goes down, and the next one's turn comes
only when this one is back, ready, and no volume's last healthy replica is on the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from components.cluster_api import ApiError, ClusterApi, Object
from settings import compatibility
from settings.models import Endpoint
from upkeep import drain, snapshots, talosctl, volumes
from upkeep.api import PatientApi
from upkeep.errors import UpkeepError
from upkeep.etcd import Etcd, Member
from upkeep.lock import one_at_a_time
from upkeep.power import Power
from upkeep.talosctl import Talosctl, TalosctlError
from upkeep.wait import NotYet, wait_for

INSTALL_LIMIT = 900
"""Seconds that Talos has to pull an installer and write it to the disk."""
_SCHEMATIC = "extensions.talos.dev/schematic"
"""Annotation that Talos gives a node whose image came from an Image Factory."""
_ADDRESSES = "/proc/net/fib_trie"
"""Where a node's kernel writes which addresses are its own, a shared one included."""


@dataclass(frozen=True)
class Seen:
    """What Kubernetes tells of a node."""

    boot_id: str
    talos: str
    schematic: str | None
    is_ready: bool


@dataclass(frozen=True)
class Peer:
    """A node by its name and address."""

    name: str
    address: str


class Cluster:
    """The ways into a living cluster."""

    def __init__(self, props: Mapping[str, Any]) -> None:
        """Find a control plane that hands out a kubeconfig; raises ``UpkeepError``."""
        self.props = props
        self.control_planes = [
            Peer(*entry.split("=", 1)) for entry in props["control_planes"].split(",")
        ]
        self.talos = Talosctl(props)
        kubeconfig = self._kubeconfig()
        self.api: ClusterApi = PatientApi.of(kubeconfig)
        self._api_now = ClusterApi.of(kubeconfig)
        self.etcd = Etcd(self.talos, [peer.address for peer in self.control_planes])

    def _kubeconfig(self) -> str:
        refusals = []
        for peer in self.control_planes:
            try:
                return self.talos.run(peer.address, "kubeconfig", "-", "--merge=false", limit=30)
            except TalosctlError as error:
                refusals.append(str(error))
        raise UpkeepError(
            f"No control plane of {self.props['cluster']} answers: {'; '.join(refusals)}. Nothing "
            "has been touched. Bring one back and run `up` again."
        )

    def seen(self, name: str) -> Seen | None:
        """What Kubernetes tells of a node; None where it knows no such node."""
        found = self._api_now.get(f"/api/v1/nodes/{name}")
        return None if found is None else _seen(found)

    def snapshot(self) -> None:
        """Keep a snapshot of etcd."""
        addresses = [member.address for member in self.etcd.members()]
        archive = snapshots.take(self.props, addresses)
        snapshots.keep(archive, self.props["cluster"], self.props.get("age_recipient"))

    def snapshot_if_stale(self) -> None:
        """Keep a snapshot of etcd, unless there is one of the last hour."""
        if not snapshots.is_fresh(self.props["cluster"]):
            self.snapshot()

    def others_away(self, name: str) -> list[str]:
        """The nodes beside one that are not ready."""
        nodes = self.api.items("/api/v1/nodes")
        away = [node["metadata"]["name"] for node in nodes if not _seen(node).is_ready]
        return [other for other in away if other != name]

    def carries_vip(self, peer: Peer) -> bool:
        """Whether a control plane has the cluster's shared address."""
        table = self.talos.run(peer.address, "read", _ADDRESSES)
        return f"|-- {self.props['vip']}\n" in table

    def wait_ready(self, name: str, what: str, not_boot: str = "") -> Seen:
        """Wait until a node is ready, in another boot than ``not_boot``."""

        def look() -> Seen:
            try:
                seen = self.seen(name)
            except ApiError as error:
                raise NotYet(str(error)) from None
            if seen is None:
                raise NotYet("Kubernetes does not know it")
            if seen.boot_id == not_boot:
                raise NotYet("it has not booted yet")
            if not seen.is_ready:
                raise NotYet("its kubelet is not ready")
            return seen

        return wait_for(look, self.props["return_s"], what)


def tend(props: Mapping[str, Any], *, grows: bool) -> None:
    """Bring a node to the Talos and the hardware that ``props`` name.

    ``grows`` says that a disk of its is larger now, which only a boot takes up. Raises
    ``UpkeepError``.
    """
    talosctl.require(props["talos"])
    with one_at_a_time(props["cluster"], props["return_s"]):
        cluster = Cluster(props)
        own = Peer(props["node"], props["address"])
        if props["control_plane"]:
            for peer in _those_before(cluster, own):
                Step(cluster, peer, is_control_plane=True).take(None, grows=False)
        Step(cluster, own, is_control_plane=props["control_plane"]).take(_power(props), grows=grows)


def _those_before(cluster: Cluster, own: Peer) -> Iterator[Peer]:
    """The control planes that are upgraded first: all others, where this one has the VIP.

    It moves once that way, and not with each of them. Their own turn then finds nothing to do.
    """
    others = [peer for peer in cluster.control_planes if peer.name != own.name]
    living = cluster.seen(own.name)
    if others and living and _is_old(cluster.props, living) and cluster.carries_vip(own):
        yield from (peer for peer in others if cluster.seen(peer.name))


def _power(props: Mapping[str, Any]) -> Power:
    return Power(
        proxmox=Endpoint(
            endpoint=props["proxmox_endpoint"],
            insecure=props["proxmox_insecure"],
            apiToken=props["proxmox_token"],
        ),
        host=props["host"],
        vm_id=int(props["vm_id"]),
    )


def _is_old(props: Mapping[str, Any], seen: Seen) -> bool:
    _, schematic = _wanted(props)
    return seen.talos != props["talos"] or seen.schematic not in (None, schematic)


def _wanted(props: Mapping[str, Any]) -> tuple[str, str]:
    name, _, version = props["installer"].rpartition(":")
    return version, name.rpartition("/")[2]


class Step:
    """One node's turn: what is done before it goes down, and after."""

    def __init__(self, cluster: Cluster, node: Peer, *, is_control_plane: bool) -> None:
        self.cluster, self.node, self.props = cluster, node, cluster.props
        self.is_control_plane = is_control_plane
        self.who = f"{node.name} ({node.address})"

    def take(self, power: Power | None, *, grows: bool) -> None:
        """Upgrade and power-cycle the node, as far as it needs it."""
        before = self.cluster.wait_ready(
            self.node.name, f"{self.who} is not ready, so it was not touched; it did not come"
        )
        if refusal := compatibility.talos_step(before.talos, self.props["talos"]):
            raise UpkeepError(refusal)
        to_upgrade = _is_old(self.props, before)
        to_cycle = power is not None and (grows or power.has_new_hardware())
        if to_upgrade or to_cycle:
            self.require_safety()
            with self.drained():
                if to_upgrade:
                    before = self._upgrade(before)
                if power is not None and to_cycle:
                    power.cycle()
                    self.back(before, "its power-cycle")
        if self.is_control_plane:
            self.wait_for_etcd()
        drain.uncordon(self.cluster.api, self.node.name)

    def require_safety(self) -> None:
        """Wait until the cluster can do without the node; raises ``UpkeepError`` if it cannot."""
        if self.is_control_plane:
            self.cluster.etcd.require_quorum_without(self.node.name, leaves=False)
            self.cluster.snapshot_if_stale()
        volumes.wait_until_spare(self.cluster.api, self.node.name, self.props["rebuild_s"])

    @contextmanager
    def drained(self) -> Iterator[None]:
        """A drained node; where that fails, or nothing came of it, it is uncordoned."""
        api, name = self.cluster.api, self.node.name
        drain.cordon(api, name)
        try:
            drain.drain(api, name, self.props["drain_s"])
            # Again: draining takes a while, and moves what uses the volumes.
            volumes.wait_until_spare(api, name, self.props["rebuild_s"])
        except UpkeepError as error:
            drain.uncordon(api, name)
            raise UpkeepError(
                f"{error} {self.who} takes pods again and was not rebooted. Give its pods another "
                "place or loosen what holds them, then run `up` again: it goes on from here."
            ) from None
        yield

    def _upgrade(self, before: Seen) -> Seen:
        """Install the other Talos and boot it; the node as it is then."""
        version, _ = _wanted(self.props)
        try:
            self.cluster.talos.run(
                self.node.address,
                "upgrade",
                *("--image", self.props["installer"]),
                # Drained already, and awaited by us: its own way knows nothing of Longhorn. A Talos
                # before 1.13 wants to be told to keep its data.
                *("--drain=false", "--wait=false", "--progress=plain", "--preserve"),
                limit=INSTALL_LIMIT,
            )
        except TalosctlError as error:
            drain.uncordon(self.cluster.api, self.node.name)
            raise UpkeepError(
                f"{self.who} could not be upgraded to {version}: {error}. It runs on as it was."
            ) from None
        after = self.back(before, f"its upgrade to Talos {version}")
        if after.talos != version:
            drain.uncordon(self.cluster.api, self.node.name)
            raise UpkeepError(
                f"{self.who} came back with Talos {after.talos} instead of {version}: the new one "
                "did not boot, and Talos fell back. Its console in Proxmox says why."
            )
        return after

    def back(self, before: Seen, what: str) -> Seen:
        """Wait until the node is back after ``what``, in another boot than ``before``."""
        return self.cluster.wait_ready(
            self.node.name,
            f"{self.who} did not come back after {what}. It is cordoned, no other node was "
            "touched, and the cluster runs without it. Look at its console in Proxmox; when it is "
            "back, run `up` again: it goes on from here. It was not ready",
            before.boot_id,
        )

    def wait_for_etcd(self) -> None:
        """Wait until the node's member of etcd is well."""

        def look() -> None:
            try:
                members = self.cluster.etcd.members()
                own = [member for member in members if member.name == self.node.name]
                sick = self.cluster.etcd.sick(own)
            except UpkeepError as error:
                raise NotYet(str(error)) from None
            if not own or sick:
                raise NotYet(sick.get(self.node.name, "it is no member of etcd"))

        wait_for(look, self.props["return_s"], f"etcd on {self.who} was not healthy again")


def leave(props: Mapping[str, Any]) -> None:
    """Take a node out of its cluster for good: pods, replicas, etcd, Kubernetes, in that order.

    What is done already is left out. Raises ``UpkeepError``; the node then stays what it was.
    """
    talosctl.require(props["talos"])
    with one_at_a_time(props["cluster"], props["return_s"]):
        cluster = Cluster(props)
        api, name = cluster.api, str(props["node"])
        node = api.get(f"/api/v1/nodes/{name}")
        is_alive = node is not None and _seen(node).is_ready
        member: Member | None = None
        if props["control_plane"]:
            member = cluster.etcd.require_quorum_without(name, leaves=True)
            if member:
                cluster.snapshot_if_stale()
        _empty(api, props, is_alive=is_alive)
        if member:
            cluster.etcd.leave(member, is_alive=is_alive)
        api.delete(f"/api/v1/nodes/{name}")
        volumes.forget(api, name, props["drain_s"])


def _empty(api: ClusterApi, props: Mapping[str, Any], *, is_alive: bool) -> None:
    name = str(props["node"])
    drain.cordon(api, name)
    try:
        if is_alive:
            drain.drain(api, name, props["drain_s"])
        volumes.empty(api, name, props["rebuild_s"], is_alive=is_alive)
    except UpkeepError as error:
        volumes.set_scheduling(api, name, allowed=True)
        drain.uncordon(api, name)
        raise UpkeepError(
            f"{error} {name} stays in the cluster and takes pods again. See to that, then run `up` "
            "again."
        ) from None


def _seen(node: Object) -> Seen:
    info = node["status"].get("nodeInfo", {})
    conditions = node["status"].get("conditions", ())
    return Seen(
        boot_id=info.get("bootID", ""),
        talos=info.get("osImage", "").removeprefix("Talos (").removesuffix(")"),
        schematic=node["metadata"].get("annotations", {}).get(_SCHEMATIC),
        is_ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
    )
