"""One node's way through an upgrade or a power-cycle, and its leave.

Every step looks first at what is there already, so that a run that was stopped in the middle is
taken up by the next one. The node is drained before it goes down, and the next one's turn comes
only when this one is back, ready, and no volume's last healthy replica is on the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from components.cluster_api import ClusterApi
from settings import compatibility
from upkeep import drain, talosctl, volumes
from upkeep.cluster import Cluster, Peer, Seen, look_of
from upkeep.errors import UpkeepError
from upkeep.etcd import Member
from upkeep.lock import one_at_a_time
from upkeep.power import Power
from upkeep.talosctl import TalosctlError
from upkeep.wait import NotYet, wait_for

INSTALL_LIMIT = 900
"""Seconds that Talos has to pull an installer and write it to the disk."""


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
        Step(cluster, own, is_control_plane=props["control_plane"]).take(
            Power.of(props), grows=grows
        )


def _those_before(cluster: Cluster, own: Peer) -> Iterator[Peer]:
    """The control planes that are upgraded first: all others, where this one has the VIP.

    It moves once that way, and not with each of them. Their own turn then finds nothing to do.
    """
    others = [peer for peer in cluster.control_planes if peer.name != own.name]
    living = cluster.seen(own.name)
    if others and living and _is_old(cluster.props, living) and cluster.carries_vip(own):
        yield from (peer for peer in others if cluster.seen(peer.name))


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
        if problem := compatibility.talos_step(before.talos, self.props["talos"]):
            raise UpkeepError(f"{problem.reason}: {problem.cure}.")
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
            self.cluster.etcd.require_quorum_without(
                self.node.name, self.node.address, leaves=False
            )
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
        is_alive = node is not None and look_of(node).is_ready
        member: Member | None = None
        if props["control_plane"]:
            member = cluster.etcd.require_quorum_without(name, props["address"], leaves=True)
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
