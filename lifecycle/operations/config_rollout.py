"""Sends a new machine config to one node if it needs a reboot or restarts Kubernetes components.

A dry run of Talos reports whether a reboot is needed. The config that is sent names the Kubernetes
images that run now, because Kubernetes is upgraded after all nodes, and a kubelet must not be newer
than the API server. If the node does not become ready, the caller sends the old config again.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import yaml

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi, KubernetesError, Object
from clients.talos.errors import TalosError
from clients.talos.talosctl import Talosctl
from clients.wait import NotYet, wait_for
from lifecycle.operations import config_diff
from lifecycle.operations.context import NodeContext
from lifecycle.operations.live_config import machine_config

_NEEDS_REBOOT = "Applied configuration with a reboot"
"""Output of a dry run if the change needs a reboot (siderolabs/talos v1.13.9
internal/app/machined/internal/server/v1alpha1/v1alpha1_server.go)."""

_RESTART_TIMEOUT_S = 30
"""Seconds until the kubelet restarts a static pod. If the config of a pod did not change, no
restart comes."""
_CONFIG_VERSION = "talos.dev/config-version"
"""Annotation that Talos sets on a static pod and changes with the config of the pod."""
_IMAGES = (
    ("machine", "kubelet"),
    ("cluster", "apiServer"),
    ("cluster", "controllerManager"),
    ("cluster", "scheduler"),
    ("cluster", "proxy"),
)
"""Group and key of the settings in a machine config that name a Kubernetes image."""


class Effect(enum.Enum):
    """The effect of a new machine config on its node."""

    NONE = "none"
    """Talos applies the change without a reboot, and no component restarts."""
    RESTART = "restart"
    """Control plane components restart."""
    REBOOT = "reboot"
    """The node reboots."""
    REFUSED = "refused"
    """The running Talos rejects the config; the version in the settings may accept it."""


class ConfigRollout:
    """The new machine config of one node."""

    def __init__(
        self,
        talos: Talosctl,
        context: NodeContext,
        old_patches: Sequence[str],
        *,
        restarts_api: bool,
    ) -> None:
        """``old_patches`` are the patches before the change. ``restarts_api``: kube-apiserver
        restarts, whatever the patches contain.
        """
        self._talos, self._context = talos, context
        self._address = context.node.address
        is_control_plane = context.node.control_plane
        self.components = config_diff.restarted(
            old_patches, context.patches, control_plane=is_control_plane
        )
        if restarts_api and is_control_plane and "kube-apiserver" not in self.components:
            self.components.insert(0, "kube-apiserver")
        self._old_config = self._images = ""

    def prepare(self, *, may_be_too_new: bool) -> Effect:
        """Get the effect of the new config from a dry run on the node.

        A node in maintenance mode is not changed (``Effect.NONE``): the Talos provider configures
        it later. ``may_be_too_new``: the node will be upgraded, so it may reject the config now.
        Raises ``OperationError`` if the node does not answer or rejects the config.
        """

        def dry_run() -> Effect:
            try:
                self._old_config = machine_config(self._context.credentials, self._address)
            except TalosError as error:
                return self._no_effect_in_maintenance(error)
            self._images = kubernetes_images(self._old_config)
            try:
                output = self._talos.run_once(
                    self._address, *self._command("auto"), "--dry-run", files=self._files
                )
            except TalosError as error:
                if error.status is None:
                    return self._no_effect_in_maintenance(error)
                if may_be_too_new:
                    return Effect.REFUSED
                raise
            if _NEEDS_REBOOT in output:
                return Effect.REBOOT
            return Effect.RESTART if self.components else Effect.NONE

        return wait_for(
            dry_run,
            self._context.cluster.return_s,
            f"{self._context.node.peer.label} was not changed, because its Talos API did not "
            "answer",
        )

    def send(self, mode: str) -> None:
        """Send the new config with this ``--mode`` of ``talosctl apply-config``."""
        self._talos.run(self._address, *self._command(mode), files=self._files)

    def restore(self, mode: str) -> None:
        """Send the config that the node had before."""
        command = ["apply-config", "--mode", mode, "--file", "{0}"]
        self._talos.run(self._address, *command, files=[self._old_config])

    def _no_effect_in_maintenance(self, error: TalosError) -> Effect:
        """Return ``Effect.NONE`` if the node is in maintenance mode, in which it answers without
        credentials; otherwise raise ``NotYet``."""
        try:
            self._talos.run_once(self._address, "version", "--insecure")
        except TalosError:
            raise NotYet(str(error)) from None
        return Effect.NONE

    def _command(self, mode: str) -> list[str]:
        """Arguments of talosctl to send ``_files``: the config of the role, then the patches."""
        count = len(self._files) - 1
        patches = [word for n in range(count) for word in ("--config-patch", f"@{{{n + 1}}}")]
        return ["apply-config", "--mode", mode, "--file", "{0}", *patches]

    @property
    def _files(self) -> list[str]:
        return [self._context.configuration, *self._context.patches, self._images]


def kubernetes_images(config: str) -> str:
    """A config patch (YAML) with the Kubernetes images that a machine config names."""
    patch: dict[str, dict[str, Any]] = {}
    for document in config_diff.main_documents(config):
        for group, component in _IMAGES:
            image = ((document.get(group) or {}).get(component) or {}).get("image")
            if image:
                patch.setdefault(group, {})[component] = {"image": image}
    return yaml.safe_dump(patch)


class StaticPods:
    """The static pods of some components on one control plane."""

    def __init__(self, api: ClusterApi, node: str, components: list[str]) -> None:
        """Record the config versions of the pods before the change."""
        self._api = api
        self._names = [f"{component}-{node}" for component in components]
        self._before = {name: _config_version(self._get(name)) for name in self._names}

    def wait(self, timeout_s: float, failure: str) -> None:
        """Wait until all pods have restarted and are ready.

        Raises ``OperationError`` after ``timeout_s`` seconds; its text begins with ``failure``.
        """
        with suppress(OperationError):
            wait_for(self._check_restarted, min(timeout_s, _RESTART_TIMEOUT_S), failure)
        wait_for(self._check_ready, timeout_s, failure)

    def _check_restarted(self) -> None:
        for name, pod in self._get_all().items():
            if _config_version(pod) == self._before[name]:
                raise NotYet(f"{name} has not restarted yet")

    def _check_ready(self) -> None:
        for name, pod in self._get_all().items():
            if not _is_ready(pod):
                raise NotYet(f"{name} is not ready")

    def _get_all(self) -> dict[str, Object | None]:
        try:
            return {name: self._get(name) for name in self._names}
        except KubernetesError as error:
            raise NotYet(str(error)) from None

    def _get(self, name: str) -> Object | None:
        return self._api.get(f"/api/v1/namespaces/kube-system/pods/{name}")


def _config_version(pod: Object | None) -> str:
    return str(pod["metadata"].get("annotations", {}).get(_CONFIG_VERSION, "")) if pod else ""


def _is_ready(pod: Object | None) -> bool:
    conditions = pod.get("status", {}).get("conditions", ()) if pod else ()
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
