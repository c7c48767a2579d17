"""Kubernetes' own programs on a control plane: static pods, which Talos makes anew by itself."""

from __future__ import annotations

from contextlib import suppress

from clients.errors import OperationError
from clients.kubernetes.api import ApiError, ClusterApi, Object
from clients.wait import NotYet, wait_for

_CHANGE_LIMIT = 30
"""Seconds in which Talos and the kubelet take up another config; one that changes nothing never
shows."""
_VERSION = "talos.dev/config-version"
"""Annotation that Talos gives a static pod, another one with another config."""


class StaticPods:
    """Some programs of one control plane."""

    def __init__(self, api: ClusterApi, node: str, programs: list[str]) -> None:
        """Look at them as they are before the change."""
        self._api = api
        self._names = [f"{program}-{node}" for program in programs]
        self._before = {name: _version(self._get(name)) for name in self._names}

    def wait(self, limit: float, what: str) -> None:
        """Wait until they run with the new config; raises ``OperationError`` with ``what``."""
        with suppress(OperationError):
            wait_for(self._begun_anew, min(limit, _CHANGE_LIMIT), what)
        wait_for(self._ready, limit, what)

    def _begun_anew(self) -> None:
        for name, pod in self._found().items():
            if _version(pod) == self._before[name]:
                raise NotYet(f"{name} is the old one")

    def _ready(self) -> None:
        for name, pod in self._found().items():
            if not _is_ready(pod):
                raise NotYet(f"{name} is not ready")

    def _found(self) -> dict[str, Object | None]:
        try:
            return {name: self._get(name) for name in self._names}
        except ApiError as error:
            raise NotYet(str(error)) from None

    def _get(self, name: str) -> Object | None:
        return self._api.get(f"/api/v1/namespaces/kube-system/pods/{name}")


def _version(pod: Object | None) -> str:
    return str(pod["metadata"].get("annotations", {}).get(_VERSION, "")) if pod else ""


def _is_ready(pod: Object | None) -> bool:
    conditions = pod.get("status", {}).get("conditions", ()) if pod else ()
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
