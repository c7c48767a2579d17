"""Upgrades, power-cycles and reconfigures one node, or removes it from the cluster.

Each step first checks what is already done, so the next run continues a run that was stopped. A
node is drained before it goes down. The next node follows when this node is ready again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi, KubernetesError
from clients.talos import talosctl
from clients.talos.errors import TalosError
from clients.talos.upgrade import TalosUpgrade
from clients.tls import context_of
from clients.wait import NotYet, wait_for
from lifecycle.operations import config_diff, drain, volumes
from lifecycle.operations.cluster import Cluster, NodeStatus, parse_node_status
from lifecycle.operations.config_rollout import ConfigRollout, Effect, StaticPods
from lifecycle.operations.context import NodeContext, Peer
from lifecycle.operations.etcd import Member
from lifecycle.operations.lock import cluster_lock
from lifecycle.operations.power import Power
from settings import compatibility


def update_node(
    context: NodeContext,
    *,
    grows: bool,
    old_patches: Sequence[str] | None,
    restarts_api: bool = False,
) -> None:
    """Apply the Talos version, hardware and machine config in ``context`` to a running node.

    ``grows``: a disk of the node is larger now, so the node must reboot. ``old_patches``: the
    config patches before the change, ``None`` if the config does not change. ``restarts_api``: the
    change restarts the Kubernetes API, whatever the patches contain. Raises ``OperationError``.
    """
    is_control_plane = context.node.control_plane
    with _open_cluster(context) as cluster:
        config = None
        effect = Effect.NONE
        if old_patches is not None:
            config = ConfigRollout(cluster.talos, context, old_patches, restarts_api=restarts_api)
            effect = config.prepare(may_be_too_new=_runs_old_talos(cluster, context))
        power = Power.of(context)
        update = NodeUpdate(
            cluster, context, context.node.peer, is_control_plane=is_control_plane, config=config
        )
        only_upgrade = effect is Effect.NONE and not grows and not power.has_new_hardware()
        if is_control_plane and only_upgrade:
            for peer in _control_planes_to_upgrade_first(cluster, context):
                NodeUpdate(cluster, context, peer, is_control_plane=True).run(None, grows=False)
        update.run(power, grows=grows, effect=effect)


@contextmanager
def _open_cluster(context: NodeContext) -> Iterator[Cluster]:
    """Hold the lock of the cluster, and yield its clients. Raises ``OperationError``."""
    talosctl.require(context.cluster.talos)
    with cluster_lock(context.cluster.cluster, context.cluster.return_s):
        yield Cluster(context.cluster, context.credentials)


def _runs_old_talos(cluster: Cluster, context: NodeContext) -> bool:
    try:
        status = cluster.node_status(context.node.name)
    except KubernetesError:
        return False
    return status is not None and _needs_talos_upgrade(context, status)


def _control_planes_to_upgrade_first(cluster: Cluster, context: NodeContext) -> Iterator[Peer]:
    """All other control planes if the node has the VIP, otherwise none.

    If the node with the VIP is upgraded last, the VIP moves only once. The resources of the other
    control planes then find nothing to do.
    """
    node = context.node.peer
    others = [peer for peer in context.cluster.peers if peer != node]
    status = cluster.node_status(node.name)
    if not others or status is None or not _needs_talos_upgrade(context, status):
        return
    if cluster.has_address(node, context.cluster.vip):
        yield from (peer for peer in others if cluster.node_status(peer.name))


def _needs_talos_upgrade(context: NodeContext, status: NodeStatus) -> bool:
    _, schematic = _wanted_talos(context)
    return status.talos != context.cluster.talos or status.schematic not in (None, schematic)


def _installs_without_reboot(status: NodeStatus) -> bool:
    """Whether the running Talos can install an upgrade without a reboot (1.13 and newer)."""
    return compatibility.minor_of(status.talos) >= (1, 13)


def _wanted_talos(context: NodeContext) -> tuple[str, str]:
    """Version and schematic of the install image."""
    name, _, version = context.installer.rpartition(":")
    return version, name.rpartition("/")[2]


class NodeUpdate:
    """The update of one node: checks, drain, reboot, and the wait until it is ready again."""

    def __init__(
        self,
        cluster: Cluster,
        context: NodeContext,
        node: Peer,
        *,
        is_control_plane: bool,
        config: ConfigRollout | None = None,
    ) -> None:
        """``node`` is that of ``context``, or another control plane that gets the same Talos."""
        self.cluster, self.context, self.node = cluster, context, node
        self.timeouts = context.cluster
        self.is_control_plane = is_control_plane
        self.config = config
        self.label = node.label

    def run(self, power: Power | None, *, grows: bool, effect: Effect = Effect.NONE) -> None:
        """Update the node with one drain and as few reboots as possible.

        If the node is upgraded or power-cycled, a config that needs a reboot or restarts components
        is staged, and the node applies it in that reboot. Otherwise the config gets its own reboot.
        ``power`` is ``None`` if the hardware does not change.
        """
        if effect is Effect.REBOOT:
            self._wait_for_other_nodes()
            if self._send_config_if_not_ready():
                effect = Effect.NONE
        before = self.cluster.wait_ready(
            self.node.name, f"{self.label} was not changed, because it did not become ready"
        )
        if problem := compatibility.upgrade_step(
            "cluster.talos", before.talos, self.context.cluster.talos
        ):
            raise OperationError(f"{problem.reason}: {problem.fix}.")
        to_upgrade = _needs_talos_upgrade(self.context, before)
        to_cycle = power is not None and (grows or power.has_new_hardware())
        if to_upgrade or to_cycle or effect is Effect.REBOOT:
            self.require_safety()
            if to_upgrade:
                self._pull()
            with self.drained():
                self._reboot(
                    before,
                    power if to_cycle else None,
                    to_upgrade=to_upgrade,
                    effect=effect,
                )
        elif effect is Effect.RESTART:
            self._restart(self._rollout.components)
        self.cluster.wait_ready(self.node.name, f"{self.label} did not become ready again")
        if self.is_control_plane:
            self.wait_for_etcd()
        drain.uncordon(self.cluster.api, self.node.name)

    @property
    def _rollout(self) -> ConfigRollout:
        assert self.config is not None  # callers that pass an effect also pass the config
        return self.config

    def _send_config_if_not_ready(self) -> bool:
        """If the node is not ready, reboot it with the new config without a drain. Returns whether
        the config was sent.

        Pods cannot be evicted from a node that is not ready, and the new config may repair it.
        """
        before = self.cluster.node_status(self.node.name) or NodeStatus(
            "", "", None, is_ready=False
        )
        if before.is_ready:
            return False
        self.require_safety()
        self._rollout.send("reboot")
        self._wait_or_restore_config(before, "the reboot with its new machine config")
        return True

    def _reboot(
        self, before: NodeStatus, power: Power | None, *, to_upgrade: bool, effect: Effect
    ) -> None:
        """Upgrade, power-cycle or reboot the drained node. ``power`` is set for a power-cycle."""
        staged = effect in (Effect.REBOOT, Effect.RESTART)
        if staged and (to_upgrade or power):
            self._rollout.send("staged")
        waits_for_cycle = power is not None and _installs_without_reboot(before)
        if to_upgrade:
            self._install(before, is_staged=staged, reboots=not waits_for_cycle)
            if not waits_for_cycle:
                before = self._wait_until_upgraded(before, with_config=staged)
        if power is not None:
            power.cycle()
            if to_upgrade and waits_for_cycle:
                before = self._wait_until_upgraded(before, with_config=staged)
            else:
                before = self._wait_after_reboot(before, "its power-cycle", with_config=staged)
        if staged and not to_upgrade and power is None:
            self._rollout.send("reboot")
            self._wait_or_restore_config(before, "the reboot with its new machine config")
        if effect is Effect.REFUSED:
            self._send_config_after_upgrade(before)

    def _send_config_after_upgrade(self, before: NodeStatus) -> None:
        """Send a config that only the new Talos accepts. The node is still drained."""
        effect = self._rollout.prepare(may_be_too_new=False)
        if effect is Effect.REBOOT:
            self._rollout.send("reboot")
            self._wait_or_restore_config(before, "the reboot with its new machine config")
        elif self.is_control_plane:
            # Any component may restart, because the new Talos may generate other arguments.
            self._restart(list(config_diff.COMPONENTS.values()))

    def _restart(self, components: list[str]) -> None:
        pods = StaticPods(self.cluster.api, self.node.name, components)
        self._rollout.send("no-reboot")
        timeout_s, names = self.timeouts.return_s, ", ".join(components)
        try:
            pods.wait(timeout_s, f"{self.label}: {names} did not come back with the new config")
        except OperationError as error:
            self._rollout.restore("no-reboot")
            pods.wait(timeout_s, f"{self.label}: {names} did not come back with the old config")
            raise OperationError(self._config_restored_message(error)) from None

    def _wait_for_other_nodes(self) -> None:
        def check() -> None:
            if unready := self.cluster.other_unready_nodes(self.node.name):
                raise NotYet(f"not ready: {', '.join(unready)}")

        wait_for(
            check,
            self.timeouts.return_s,
            f"{self.label} was not rebooted, because two nodes must not be down at the same time "
            "and other nodes did not become ready",
        )

    def _wait_after_reboot(
        self, before: NodeStatus, reboot: str, *, with_config: bool
    ) -> NodeStatus:
        """Wait until the node is ready. ``with_config`` restores the old config if it fails."""
        if with_config:
            return self._wait_or_restore_config(before, reboot)
        return self._wait_until_back(before, reboot)

    def _wait_or_restore_config(self, before: NodeStatus, reboot: str) -> NodeStatus:
        """Wait until the node is ready. If it fails, reboot it with its old config, then raise."""
        try:
            return self._wait_until_back(before, reboot)
        except OperationError as error:
            try:
                self._rollout.restore("reboot")
            except TalosError:
                raise error from None
            self._wait_until_back(
                before, "the reboot with its old machine config (it failed with the new one)"
            )
            drain.uncordon(self.cluster.api, self.node.name)
            raise OperationError(self._config_restored_message(error)) from None

    def _config_restored_message(self, error: OperationError) -> str:
        return (
            f"{self.label} did not become ready with its new machine config, so `up` restored the "
            "old config, and the node is ready. No other node was changed after it. Correct the "
            f"patch, then run `up` again. The error was: {error}"
        )

    def require_safety(self) -> None:
        """Check that etcd and every Longhorn volume survive without this node.

        Takes an etcd snapshot if the last one is older than an hour. Raises ``OperationError``.
        """
        if self.is_control_plane:
            self.cluster.etcd.require_quorum_without(self.node, is_removed=False)
            self.cluster.take_snapshot_if_stale()
        volumes.wait_for_other_replicas(self.cluster.api, self.node.name, self.timeouts.rebuild_s)

    @contextmanager
    def drained(self) -> Iterator[None]:
        """Drain the node. If the drain fails, uncordon it and raise ``OperationError``."""
        api, name = self.cluster.api, self.node.name
        drain.cordon(api, name)
        try:
            drain.drain(api, name, self.timeouts.drain_s)
            # Checked again, because a drain takes time and moves the pods that use the volumes.
            volumes.wait_for_other_replicas(api, name, self.timeouts.rebuild_s)
        except OperationError as error:
            drain.uncordon(api, name)
            raise OperationError(
                f"{error} {self.label} was uncordoned: it takes pods again and was not rebooted. "
                "Make room for its pods on other nodes, or change what blocks their eviction, then "
                "run `up` again: it continues from here."
            ) from None
        yield

    def _upgrade(self) -> TalosUpgrade:
        return TalosUpgrade(
            self.node.address, context_of(self.context.credentials), self.context.installer
        )

    def _pull(self) -> None:
        """Pull the installer image while the node still runs its pods."""
        try:
            self._upgrade().pull()
        except TalosError as error:
            version, _ = _wanted_talos(self.context)
            raise OperationError(
                f"{self.label} could not be upgraded to {version}, because it cannot pull "
                f"{self.context.installer}: {error.detail}. Nothing has been touched on this node, "
                "and no other node was changed after it. Check the registry, `image.factory`, "
                "`cluster.registry_mirrors` and the name servers of the node, then run `up` again."
            ) from None

    def _install(self, before: NodeStatus, *, is_staged: bool, reboots: bool) -> None:
        """Install the wanted Talos. The node boots it now, or in its power-cycle."""
        version, _ = _wanted_talos(self.context)
        upgrade = self._upgrade()
        try:
            if not _installs_without_reboot(before):
                upgrade.install_and_reboot()
            else:
                upgrade.install()
                if reboots:
                    upgrade.reboot()
        except TalosError as error:
            if is_staged:
                with suppress(TalosError):
                    self._rollout.restore("staged")
            drain.uncordon(self.cluster.api, self.node.name)
            raise OperationError(
                f"{self.label} could not be upgraded to {version}: {error}. It still runs its old "
                "version."
            ) from None

    def _wait_until_upgraded(self, before: NodeStatus, *, with_config: bool) -> NodeStatus:
        """Wait until the node is ready with the wanted Talos."""
        version, _ = _wanted_talos(self.context)
        after = self._wait_after_reboot(
            before, f"its upgrade to Talos {version}", with_config=with_config
        )
        if after.talos != version:
            drain.uncordon(self.cluster.api, self.node.name)
            raise OperationError(
                f"{self.label} came back with Talos {after.talos} instead of {version}: the new "
                "version did not boot, so Talos rolled back. Read the reason on the VM's console "
                "in Proxmox."
            )
        return after

    def _wait_until_back(self, before: NodeStatus, reboot: str) -> NodeStatus:
        """Wait until the node is ready after ``reboot``, in another boot than ``before``."""
        return self.cluster.wait_ready(
            self.node.name,
            f"{self.label} did not come back after {reboot}. It is cordoned, no other node was "
            "changed, and the cluster runs without it. Check the VM's console in Proxmox. When the "
            "node is ready, run `up` again: it continues from here. The node was not ready",
            before.boot_id,
        )

    def wait_for_etcd(self) -> None:
        """Wait until the node's etcd member is healthy. Raises ``OperationError``."""

        def check() -> None:
            try:
                members = self.cluster.etcd.members()
                own = [member for member in members if member.name == self.node.name]
                faults = self.cluster.etcd.find_faults(own)
            except OperationError as error:
                raise NotYet(str(error)) from None
            if not own or faults:
                raise NotYet(faults.get(self.node.name, "the node is not a member of etcd"))

        wait_for(
            check, self.timeouts.return_s, f"etcd on {self.label} did not become healthy again"
        )


def remove_node(context: NodeContext) -> None:
    """Remove a node from its cluster: drain, replicas, etcd member, Kubernetes node, in this order.

    Completed steps are skipped. Raises ``OperationError``; the next run continues.
    """
    with _open_cluster(context) as cluster:
        api, name = cluster.api, context.node.name
        node = api.get(f"/api/v1/nodes/{name}")
        is_ready = node is not None and parse_node_status(node).is_ready
        member: Member | None = None
        if context.node.control_plane:
            member = cluster.etcd.require_quorum_without(context.node.peer, is_removed=True)
            if member:
                cluster.take_snapshot_if_stale()
        _evacuate(api, context, is_ready=is_ready)
        if member:
            cluster.etcd.remove_member(member, is_ready=is_ready)
        api.delete(f"/api/v1/nodes/{name}")
        volumes.remove_longhorn_node(api, name, context.cluster.drain_s)


def _evacuate(api: ClusterApi, context: NodeContext, *, is_ready: bool) -> None:
    """Move pods and Longhorn replicas off a node. If that fails, undo it and raise."""
    name = context.node.name
    drain.cordon(api, name)
    try:
        if is_ready:
            drain.drain(api, name, context.cluster.drain_s)
        volumes.evict_replicas(api, name, context.cluster.rebuild_s, is_ready=is_ready)
    except OperationError as error:
        volumes.set_scheduling(api, name, allowed=True)
        drain.uncordon(api, name)
        raise OperationError(
            f"{error} {name} was not removed from the cluster and takes pods again. Solve this "
            "problem, then run `up` again."
        ) from None
