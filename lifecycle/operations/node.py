"""The upgrade, power-cycle and config rollout of one node, and its removal from the cluster.

Every step looks first at what is there already, so that a run that was stopped in the middle is
taken up by the next one. The node is drained before it goes down, and the next one's turn comes
only when this one is back, ready, and no volume's last healthy replica is on the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from clients.errors import OperationError
from clients.kubernetes.api import ApiError, ClusterApi
from clients.talos import talosctl
from clients.talos.talosctl import TalosctlError
from clients.wait import NotYet, wait_for
from lifecycle.operations import config_diff, drain, volumes
from lifecycle.operations.cluster_health import Cluster, NodeStatus, Peer, look_of
from lifecycle.operations.config_rollout import ConfigRollout, Effect
from lifecycle.operations.etcd import Member
from lifecycle.operations.lock import one_at_a_time
from lifecycle.operations.power import Power
from lifecycle.operations.static_pods import StaticPods
from settings import compatibility

INSTALL_LIMIT = 900
"""Seconds that Talos has to pull an installer and write it to the disk."""


def update_node(
    props: Mapping[str, Any],
    *,
    grows: bool,
    old_patches: Sequence[str] | None,
    restarts_api: bool = False,
) -> None:
    """Bring a node to the Talos, the hardware and the machine config that ``props`` name.

    ``grows`` says that one of its disks is larger now, which needs a boot. ``old_patches`` are the
    patches of its machine config before the change; ``None`` says that the config does not change.
    Raises ``OperationError``.
    """
    talosctl.require(props["talos"])
    with one_at_a_time(props["cluster"], props["return_s"]):
        cluster = Cluster(props)
        own = Peer(props["node"], props["address"])
        config = None
        effect = Effect.NONE
        if old_patches is not None:
            config = ConfigRollout(cluster.talos, props, old_patches, restarts_api=restarts_api)
            effect = config.prepare(may_be_too_new=_runs_old_talos(cluster, own))
        power = Power.of(props)
        step = Step(cluster, own, is_control_plane=props["control_plane"], config=config)
        only_upgrade = effect is Effect.NONE and not grows and not power.has_new_hardware()
        if props["control_plane"] and only_upgrade:
            for peer in _those_before(cluster, own):
                Step(cluster, peer, is_control_plane=True).take(None, grows=False)
        step.take(power, grows=grows, effect=effect)


def _runs_old_talos(cluster: Cluster, node: Peer) -> bool:
    try:
        found = cluster.seen(node.name)
    except ApiError:
        return False
    return found is not None and _is_old(cluster.props, found)


def _those_before(cluster: Cluster, own: Peer) -> Iterator[Peer]:
    """The control planes that are upgraded first: all others, if this one has the VIP.

    The VIP then moves once, and not with each of them. Their own turn then finds nothing to do.
    """
    others = [peer for peer in cluster.control_planes if peer.name != own.name]
    living = cluster.seen(own.name)
    if others and living and _is_old(cluster.props, living) and cluster.carries_vip(own):
        yield from (peer for peer in others if cluster.seen(peer.name))


def _is_old(props: Mapping[str, Any], seen: NodeStatus) -> bool:
    _, schematic = _wanted(props)
    return seen.talos != props["talos"] or seen.schematic not in (None, schematic)


def _installs_without_reboot(seen: NodeStatus) -> bool:
    """Whether the Talos on a node can be upgraded without a reboot of its own."""
    major, minor, *_ = seen.talos.removeprefix("v").split(".")
    return (int(major), int(minor)) >= (1, 13)


def _wanted(props: Mapping[str, Any]) -> tuple[str, str]:
    name, _, version = props["installer"].rpartition(":")
    return version, name.rpartition("/")[2]


class Step:
    """One node's turn: what is done before it goes down, and after."""

    def __init__(
        self,
        cluster: Cluster,
        node: Peer,
        *,
        is_control_plane: bool,
        config: ConfigRollout | None = None,
    ) -> None:
        self.cluster, self.node, self.props = cluster, node, cluster.props
        self.is_control_plane = is_control_plane
        self.config = config
        self.who = f"{node.name} ({node.address})"

    def take(self, power: Power | None, *, grows: bool, effect: Effect = Effect.NONE) -> None:
        """Bring the node to what is declared, with one drain and as few reboots as possible.

        A config that needs a reboot, or restarts programs, is staged: the node takes it up at the
        reboot of its upgrade or power-cycle. If only the config needs a reboot, this takes one.
        """
        if effect is Effect.REBOOT:
            self._wait_for_others()
            if self._heal_with_config():
                effect = Effect.NONE
        before = self.cluster.wait_ready(
            self.node.name, f"{self.who} is not ready, so it was not touched; it did not come"
        )
        if problem := compatibility.talos_step(before.talos, self.props["talos"]):
            raise OperationError(f"{problem.reason}: {problem.fix}.")
        to_upgrade = _is_old(self.props, before)
        to_cycle = power is not None and (grows or power.has_new_hardware())
        if to_upgrade or to_cycle or effect is Effect.REBOOT:
            self.require_safety()
            with self.drained():
                self._reboot(
                    before,
                    power if to_cycle else None,
                    to_upgrade=to_upgrade,
                    effect=effect,
                )
        elif effect is Effect.RESTART:
            self._restart(self._rollout.programs)
        self.cluster.wait_ready(self.node.name, f"{self.who} was not ready again")
        if self.is_control_plane:
            self.wait_for_etcd()
        drain.uncordon(self.cluster.api, self.node.name)

    @property
    def _rollout(self) -> ConfigRollout:
        assert self.config is not None  # whoever passes an effect has passed it
        return self.config

    def _heal_with_config(self) -> bool:
        """Send the config at once to a node that is not ready; tell whether it was sent.

        Its pods cannot be asked to leave, and the new config may be what it lacks.
        """
        before = self.cluster.seen(self.node.name) or NodeStatus("", "", None, is_ready=False)
        if before.is_ready:
            return False
        self.require_safety()
        self._rollout.send("reboot")
        self._back_with_config(before, "the reboot with its new machine config")
        return True

    def _reboot(
        self, before: NodeStatus, power: Power | None, *, to_upgrade: bool, effect: Effect
    ) -> None:
        """Upgrade, power-cycle or reboot a drained node; with ``power`` it is power-cycled."""
        staged = effect in (Effect.REBOOT, Effect.RESTART)
        if staged and (to_upgrade or power):
            self._rollout.send("staged")
        waits_for_cycle = power is not None and _installs_without_reboot(before)
        if to_upgrade:
            self._install(is_staged=staged, reboots=not waits_for_cycle)
            if not waits_for_cycle:
                before = self._back_upgraded(before, with_config=staged)
        if power is not None:
            power.cycle()
            if to_upgrade and waits_for_cycle:
                before = self._back_upgraded(before, with_config=staged)
            else:
                before = self._back(before, "its power-cycle", with_config=staged)
        if staged and not to_upgrade and power is None:
            self._rollout.send("reboot")
            self._back_with_config(before, "the reboot with its new machine config")
        if effect is Effect.REFUSED:
            self._after_upgrade(before)

    def _after_upgrade(self, before: NodeStatus) -> None:
        """Send a config that only the new Talos understands to a node that is still drained."""
        effect = self._rollout.prepare(may_be_too_new=False)
        if effect is Effect.REBOOT:
            self._rollout.send("reboot")
            self._back_with_config(before, "the reboot with its new machine config")
        elif self.is_control_plane:
            # Which programs restart is not known: the new Talos may generate other arguments.
            self._restart(list(config_diff.PROGRAMS.values()))

    def _restart(self, programs: list[str]) -> None:
        pods = StaticPods(self.cluster.api, self.node.name, programs)
        self._rollout.send("no-reboot")
        limit, words = self.props["return_s"], ", ".join(programs)
        try:
            pods.wait(limit, f"{self.who}: {words} did not come back with the new config")
        except OperationError as error:
            self._rollout.send_back("no-reboot")
            pods.wait(limit, f"{self.who}: {words} did not come back with the old config")
            raise OperationError(self._old_again(error)) from None

    def _wait_for_others(self) -> None:
        def look() -> None:
            if away := self.cluster.others_away(self.node.name):
                raise NotYet(f"not ready: {', '.join(away)}")

        what = f"{self.who} was not rebooted: no two nodes go down together, and others were"
        wait_for(look, self.props["return_s"], f"{what} not there")

    def _back(self, before: NodeStatus, what: str, *, with_config: bool) -> NodeStatus:
        """Wait until the node is back; one that took up a config gets its old one if it fails."""
        return self._back_with_config(before, what) if with_config else self.back(before, what)

    def _back_with_config(self, before: NodeStatus, what: str) -> NodeStatus:
        try:
            return self.back(before, what)
        except OperationError as error:
            try:
                self._rollout.send_back("reboot")
            except TalosctlError:
                raise error from None
            self.back(before, "the reboot with its old machine config, for it failed with the new")
            drain.uncordon(self.cluster.api, self.node.name)
            raise OperationError(self._old_again(error)) from None

    def _old_again(self, error: OperationError) -> str:
        return (
            f"{self.who} did not get well with its new machine config, so it has its old one "
            "again, and is ready. No node was touched after it. Mend the patch, then run `up` "
            f"again. What went wrong: {error}"
        )

    def require_safety(self) -> None:
        """Wait until the cluster can do without the node. Raises ``OperationError``."""
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
        except OperationError as error:
            drain.uncordon(api, name)
            raise OperationError(
                f"{error} {self.who} takes pods again and was not rebooted. Give its pods another "
                "place or loosen what holds them, then run `up` again: it goes on from here."
            ) from None
        yield

    def _install(self, *, is_staged: bool, reboots: bool) -> None:
        """Install the other Talos; the node boots it at once, or at its power-cycle."""
        version, _ = _wanted(self.props)
        try:
            self.cluster.talos.run(
                self.node.address,
                "upgrade",
                *("--image", self.props["installer"]),
                # Drained already, and awaited by us: its own way knows nothing of Longhorn. A Talos
                # before 1.13 wants to be told to keep its data.
                *("--drain=false", "--wait=false", "--progress=plain", "--preserve"),
                *(() if reboots else ("--no-reboot",)),
                limit=INSTALL_LIMIT,
            )
        except TalosctlError as error:
            if is_staged:
                with suppress(TalosctlError):
                    self._rollout.send_back("staged")
            drain.uncordon(self.cluster.api, self.node.name)
            raise OperationError(
                f"{self.who} could not be upgraded to {version}: {error}. It runs on as it was."
            ) from None

    def _back_upgraded(self, before: NodeStatus, *, with_config: bool) -> NodeStatus:
        """Wait until the node is back with the other Talos."""
        version, _ = _wanted(self.props)
        after = self._back(before, f"its upgrade to Talos {version}", with_config=with_config)
        if after.talos != version:
            drain.uncordon(self.cluster.api, self.node.name)
            raise OperationError(
                f"{self.who} came back with Talos {after.talos} instead of {version}: the new one "
                "did not boot, and Talos fell back. Its console in Proxmox says why."
            )
        return after

    def back(self, before: NodeStatus, what: str) -> NodeStatus:
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
            except OperationError as error:
                raise NotYet(str(error)) from None
            if not own or sick:
                raise NotYet(sick.get(self.node.name, "it is no member of etcd"))

        wait_for(look, self.props["return_s"], f"etcd on {self.who} was not healthy again")


def leave(props: Mapping[str, Any]) -> None:
    """Take a node out of its cluster for good: pods, replicas, etcd, Kubernetes, in that order.

    What is done already is left out. Raises ``OperationError``; the node then stays what it was.
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
    except OperationError as error:
        volumes.set_scheduling(api, name, allowed=True)
        drain.uncordon(api, name)
        raise OperationError(
            f"{error} {name} stays in the cluster and takes pods again. See to that, then run `up` "
            "again."
        ) from None
