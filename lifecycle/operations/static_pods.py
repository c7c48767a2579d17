"""Waits for the static pods of a control plane, which Talos recreates after a config change."""

from __future__ import annotations

from contextlib import suppress

from clients.errors import OperationError
from clients.kubernetes.api import ApiError, ClusterApi, Object
from clients.wait import NotYet, wait_for

_RESTART_TIMEOUT_S = 30
"""Seconds until the kubelet restarts a static pod. If the config of a pod did not change, no
restart comes."""
_CONFIG_VERSION = "talos.dev/config-version"
"""Annotation that Talos sets on a static pod and changes with the config of the pod."""


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
        except ApiError as error:
            raise NotYet(str(error)) from None

    def _get(self, name: str) -> Object | None:
        return self._api.get(f"/api/v1/namespaces/kube-system/pods/{name}")


def _config_version(pod: Object | None) -> str:
    return str(pod["metadata"].get("annotations", {}).get(_CONFIG_VERSION, "")) if pod else ""


def _is_ready(pod: Object | None) -> bool:
    conditions = pod.get("status", {}).get("conditions", ()) if pod else ()
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
