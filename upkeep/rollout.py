"""One node's way through a change of its machine config that takes it down for a while.

Whether it needs a reboot Talos itself says beforehand. It is drained first, and no other node may
be away meanwhile; where it does not get ready with the new config it gets its old one back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upkeep import config_change, drain, talosctl
from upkeep.cluster import Cluster, Peer, Seen
from upkeep.errors import UpkeepError
from upkeep.lock import one_at_a_time
from upkeep.node import Step
from upkeep.static_pods import StaticPods
from upkeep.talosctl import Talosctl, TalosctlError, UnreachableError
from upkeep.wait import NotYet, wait_for

_WITH_REBOOT = "Applied configuration with a reboot"
"""What Talos says in a dry run of a change that it takes up by a reboot (siderolabs/talos v1.13.9
internal/app/machined/internal/server/v1alpha1/v1alpha1_server.go)."""


def roll_out(olds: Mapping[str, Any], news: Mapping[str, Any]) -> None:
    """Bring a node to the config of ``news``, from that of ``olds``, as far as it goes down for it.

    A node that has no config yet is left alone: it is born with the new one. Raises
    ``UpkeepError``.
    """
    talosctl.require(news["talos"])
    with one_at_a_time(news["cluster"], news["return_s"]):
        needs_reboot = _ask(news)
        if needs_reboot is not None:
            turn = _Turn(Cluster(news), olds)
            turn.take(needs_reboot=needs_reboot)


def _ask(props: Mapping[str, Any]) -> bool | None:
    """Whether the node needs a reboot for its config; None if it waits for its first."""
    talos, address = Talosctl(props), props["address"]

    def look() -> bool | None:
        try:
            said = talos.run_once(address, *_apply("auto", props), "--dry-run", files=_files(props))
        except UnreachableError as error:
            if _is_unborn(talos, address):
                return None
            raise NotYet(str(error)) from None
        return _WITH_REBOOT in said

    who = f"{props['node']} ({address})"
    return wait_for(look, props["return_s"], f"{who} was not touched: it did not answer")


def _is_unborn(talos: Talosctl, address: str) -> bool:
    """Whether the machine is in maintenance mode, where anybody may ask it and nobody is known."""
    try:
        talos.run_once(address, "version", "--insecure")
    except TalosctlError:
        return False
    return True


def _apply(mode: str, props: Mapping[str, Any]) -> list[str]:
    """The command that sends ``_files``: a role's config, and the node's patches in their order."""
    count = len(props["patches"])
    patches = [word for n in range(count) for word in ("--config-patch", f"@{{{n + 1}}}")]
    return ["apply-config", "--mode", mode, "--file", "{0}", *patches]


def _files(props: Mapping[str, Any]) -> list[str]:
    return [props["configuration"], *props["patches"]]


class _Turn:
    """One node's turn."""

    def __init__(self, cluster: Cluster, olds: Mapping[str, Any]) -> None:
        self._cluster, self._olds, self._news = cluster, olds, cluster.props
        self._node = Peer(self._news["node"], self._news["address"])
        self._step = Step(cluster, self._node, is_control_plane=self._news["control_plane"])

    def take(self, *, needs_reboot: bool) -> None:
        """Reboot the node with its new config, or restart its programs, or see that it is well."""
        if needs_reboot:
            self._reboot()
        elif programs := config_change.restarted(self._olds, self._news):
            self._restart(programs)
        self._cluster.wait_ready(self._node.name, f"{self._step.who} was not ready again")
        if self._step.is_control_plane:
            self._step.wait_for_etcd()
        drain.uncordon(self._cluster.api, self._node.name)

    def _reboot(self) -> None:
        self._wait_for_others()
        before = self._cluster.seen(self._node.name) or Seen("", "", None, is_ready=False)
        self._step.require_safety()
        if before.is_ready:
            with self._step.drained():
                self._send(self._news, "reboot")
        else:
            # Nothing on it can be asked to leave; a new config may be what it waits for.
            self._send(self._news, "reboot")
        try:
            self._step.back(before, "the reboot with its new machine config")
        except UpkeepError as error:
            self._take_back(before, error)

    def _restart(self, programs: list[str]) -> None:
        pods = StaticPods(self._cluster.api, self._node.name, programs)
        self._send(self._news, "no-reboot")
        limit, words = self._news["return_s"], ", ".join(programs)
        try:
            pods.wait(limit, f"{self._step.who}: {words} did not come back with the new config")
        except UpkeepError as error:
            self._send(self._olds, "no-reboot")
            pods.wait(limit, f"{self._step.who}: {words} did not come back with the old config")
            raise UpkeepError(self._old_again(error)) from None

    def _wait_for_others(self) -> None:
        def look() -> None:
            if away := self._cluster.others_away(self._node.name):
                raise NotYet(f"not ready: {', '.join(away)}")

        what = f"{self._step.who} was not rebooted: no two nodes go down together, and others were"
        wait_for(look, self._news["return_s"], f"{what} not there")

    def _send(self, props: Mapping[str, Any], mode: str) -> None:
        self._cluster.talos.run(self._node.address, *_apply(mode, props), files=_files(props))

    def _take_back(self, before: Seen, error: UpkeepError) -> None:
        """Give the node its old config again, if it still answers; raises in any case."""
        try:
            self._send(self._olds, "reboot")
        except TalosctlError:
            raise error from None
        self._step.back(
            before, "the reboot with its old machine config, for it failed with the new"
        )
        drain.uncordon(self._cluster.api, self._node.name)
        raise UpkeepError(self._old_again(error))

    def _old_again(self, error: UpkeepError) -> str:
        return (
            f"{self._step.who} did not get well with its new machine config, so it has its old one "
            "again, and is ready. No node was touched after it. Mend the patch, then run `up` "
            f"again. What went wrong: {error}"
        )
