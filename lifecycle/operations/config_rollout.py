"""A change of one node's machine config that needs a reboot, or restarts programs of Kubernetes.

Whether it needs a reboot Talos itself says beforehand, in a dry run. The config that is sent names
the images of Kubernetes that run on the node: Kubernetes is upgraded after all nodes, and its
kubelets must not be newer than its API. If the node does not become ready with the new config, it
gets back the config that it ran with.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from clients.talos.machine_api import TalosCallError
from clients.talos.talosctl import Talosctl, TalosctlError, UnreachableError
from clients.wait import NotYet, wait_for
from lifecycle.operations import config_diff
from lifecycle.operations.live_config import kubernetes_images, machine_config

_WITH_REBOOT = "Applied configuration with a reboot"
"""What Talos says in a dry run of a change that it takes up by a reboot (siderolabs/talos v1.13.9
internal/app/machined/internal/server/v1alpha1/v1alpha1_server.go)."""


class Effect(enum.Enum):
    """What a new machine config does to its node."""

    NONE = "none"
    """Nothing, or what Talos takes up as it runs."""
    RESTART = "restart"
    """Programs of Kubernetes restart."""
    REBOOT = "reboot"
    """The node reboots."""
    REFUSED = "refused"
    """The Talos that runs does not understand it; the declared version may."""


class ConfigRollout:
    """The machine config that one node is to have."""

    def __init__(
        self,
        talos: Talosctl,
        props: Mapping[str, Any],
        old_patches: Sequence[str],
        *,
        restarts_api: bool,
    ) -> None:
        """``restarts_api`` says that the Kubernetes API restarts whatever the patches say."""
        self._talos, self._props = talos, props
        self._address: str = props["address"]
        self.programs = config_diff.restarted(
            old_patches, props["patches"], control_plane=props["control_plane"]
        )
        if restarts_api and props["control_plane"] and "kube-apiserver" not in self.programs:
            self.programs.insert(0, "kube-apiserver")
        self._live = self._images = ""

    def prepare(self, *, may_be_too_new: bool) -> Effect:
        """Ask the node what the new config would do to it.

        A node in maintenance mode is left alone: it gets its config later. ``may_be_too_new`` says
        that the node is about to be upgraded, so that it need not understand the config yet. Raises
        ``OperationError`` if the node does not answer, or refuses the config.
        """

        def ask() -> Effect:
            try:
                self._live = machine_config(self._props, self._address)
                self._images = kubernetes_images(self._live)
                said = self._talos.run_once(
                    self._address, *self._command("auto"), "--dry-run", files=self._files
                )
            except (TalosCallError, UnreachableError) as error:
                if self._is_in_maintenance():
                    return Effect.NONE
                raise NotYet(str(error)) from None
            except TalosctlError:
                if may_be_too_new:
                    return Effect.REFUSED
                raise
            if _WITH_REBOOT in said:
                return Effect.REBOOT
            return Effect.RESTART if self.programs else Effect.NONE

        who = f"{self._props['node']} ({self._address})"
        return wait_for(ask, self._props["return_s"], f"{who} was not touched: it did not answer")

    def send(self, mode: str) -> None:
        """Send the new config in a mode of ``talosctl apply-config``."""
        self._talos.run(self._address, *self._command(mode), files=self._files)

    def send_back(self, mode: str) -> None:
        """Send the config that the node ran with."""
        command = ["apply-config", "--mode", mode, "--file", "{0}"]
        self._talos.run(self._address, *command, files=[self._live])

    def _is_in_maintenance(self) -> bool:
        """Whether the machine is in maintenance mode, in which it needs no credentials."""
        try:
            self._talos.run_once(self._address, "version", "--insecure")
        except TalosctlError:
            return False
        return True

    def _command(self, mode: str) -> list[str]:
        """The command that sends ``_files``: the config of the role, and patches in their order."""
        count = len(self._files) - 1
        patches = [word for n in range(count) for word in ("--config-patch", f"@{{{n + 1}}}")]
        return ["apply-config", "--mode", mode, "--file", "{0}", *patches]

    @property
    def _files(self) -> list[str]:
        return [self._props["configuration"], *self._props["patches"], self._images]
