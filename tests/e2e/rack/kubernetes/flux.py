"""A stand-in for Flux: its operator, its source-controller and its kustomize-controller.

It is for where Flux itself is not there (flux_programs.py). Each lives while a pod of it runs. The
operator installs the kinds and Deployments of Flux' own manifests, which lie beside the charts
(``flux-distribution``). Repositories are fetched with git, manifests decrypted with sops and
applied. Left out: kustomize itself (a folder is all its files), health checks, and Helm.

All put their finalizers on, and take them off. With the annotation ``rack.simulated/flux: stuck``
on the namespace they never take one off: controllers that hang.
"""

from __future__ import annotations

import base64
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import manifests
from .client import KubernetesClient

SPACE = "/api/v1/namespaces/flux-system"
ANNOTATION = "rack.simulated/flux"
STUCK = "stuck"
CHARTS = Path(os.environ.get("CASTLE_CHARTS") or Path(__file__).parents[2] / "charts")
DISTRIBUTION = CHARTS / "flux-distribution"
FILES = (
    "source-controller",
    "kustomize-controller",
    "helm-controller",
    "notification-controller",
    "rbac",
)
OPERATOR, FETCHER, APPLIER = "flux-operator", "source-controller", "kustomize-controller"
INSTANCES = "/apis/fluxcd.controlplane.io/v1/fluxinstances"
SOURCES = "/apis/source.toolkit.fluxcd.io/v1/gitrepositories"
KUSTOMIZATIONS = "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations"
OWNER = {"fluxcd.controlplane.io/name": "flux", "fluxcd.controlplane.io/namespace": "flux-system"}
FINALIZERS = {
    OPERATOR: "fluxcd.controlplane.io/finalizer",
    FETCHER: "finalizers.fluxcd.io",
    APPLIER: "finalizers.fluxcd.io",
}
LOOK = 1.0
"""Seconds between two looks at a repository."""


class FluxStandIn:
    """Flux in one cluster."""

    def __init__(self, directory: Path) -> None:
        """``directory`` is where repositories are fetched to."""
        self._directory = directory
        self._next_look = 0.0
        self._stuck = False

    async def follow(self, client: KubernetesClient) -> None:
        """Do what each of them would do by now."""
        space = await client.get(SPACE)
        if space is None:
            return
        self._stuck = space["metadata"].get("annotations", {}).get(ANNOTATION) == STUCK
        pods = [pod["metadata"]["name"] for pod in await client.list(f"{SPACE}/pods")]
        for name, kind, work in (
            (OPERATOR, INSTANCES, self._install),
            (FETCHER, SOURCES, self._fetch),
            (APPLIER, KUSTOMIZATIONS, self._apply),
        ):
            if any(pod.startswith(name) for pod in pods):
                for it in await client.list(kind):
                    if await self._keeps(client, kind, it, FINALIZERS[name]):
                        await work(client, it)

    async def stop(self) -> None:
        """Nothing of it runs by itself."""

    async def _keeps(
        self, client: KubernetesClient, kind: str, it: dict[str, Any], finalizer: str
    ) -> bool:
        """Put the finalizer on an object that is to stay, and take it off one that is to go."""
        path, metadata = _path(kind, it), it["metadata"]
        if "deletionTimestamp" not in metadata:
            if finalizer not in metadata.get("finalizers", []):
                await client.patch(path, {"metadata": {"finalizers": [finalizer]}})
            return True
        if not self._stuck:
            if kind == KUSTOMIZATIONS and it["spec"].get("deletionPolicy") != "Orphan":
                await self._prune(client, it, set())
            await client.patch(path, {"metadata": {"finalizers": None}})
        return False

    async def _install(self, client: KubernetesClient, instance: dict[str, Any]) -> None:
        if _is_ready(instance):
            return
        for name in FILES:
            for thing in manifests.read_file(DISTRIBUTION / f"{name}.yaml"):
                if not thing["kind"].startswith(("Cluster", "Custom")):
                    thing["metadata"]["namespace"] = "flux-system"
                thing["metadata"].setdefault("labels", {}).update(OWNER)
                await client.apply(await manifests.path_of(client, thing), thing, OPERATOR)
        deployments = await client.list("/apis/apps/v1/namespaces/flux-system/deployments")
        if all(it["status"].get("readyReplicas") for it in deployments):
            await _report(client, INSTANCES, instance, "True", "Reconciliation finished in 1s")

    async def _fetch(self, client: KubernetesClient, source: dict[str, Any]) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK
        spec, folder = source["spec"], self._directory / f"git-{source['metadata']['uid']}"
        try:
            environment = await self._git_environment(client, spec)
            branch = spec["ref"]["branch"]
            listed = await manifests.run(
                ["git", "ls-remote", "--exit-code", spec["url"], f"refs/heads/{branch}"],
                environment,
            )
            revision = f"{branch}@sha1:{listed.split()[0]}"
            if revision == source.get("status", {}).get("artifact", {}).get("revision"):
                return
            shutil.rmtree(folder, ignore_errors=True)
            await manifests.run(
                ["git", "clone", "-q", "--depth=1", f"--branch={branch}", spec["url"], str(folder)],
                environment,
            )
        except OSError as error:
            await _report(client, SOURCES, source, "False", f"failed to checkout: {error}")
            return
        artifact = {
            "revision": revision,
            "digest": f"sha256:{'0' * 64}",
            "path": str(folder),
            "url": "http://source-controller/artifact",
            "lastUpdateTime": _now(),
        }
        message = f"stored artifact for revision '{revision}'"
        await _report(client, SOURCES, source, "True", message, artifact=artifact)

    async def _git_environment(
        self, client: KubernetesClient, spec: dict[str, Any]
    ) -> dict[str, str]:
        """How git reaches a repository: never by asking, and with the secret that is named."""
        secret = await _secret(client, spec.get("secretRef"))
        environment = {"GIT_TERMINAL_PROMPT": "0"}
        if "password" in secret:
            pair = base64.b64encode(f"{secret['username']}:{secret['password']}".encode()).decode()
            environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "http.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {pair}",
            }
        if "identity" in secret:
            identity, known = self._directory / "git-key", self._directory / "git-known-hosts"
            identity.touch(mode=0o600)
            identity.write_text(secret["identity"], encoding="utf-8")
            known.write_text(secret["known_hosts"], encoding="utf-8")
            environment["GIT_SSH_COMMAND"] = (
                f"ssh -F none -i {identity} -o UserKnownHostsFile={known}"
            )
        if "ca.crt" in secret:
            authority = self._directory / "git-ca.crt"
            authority.write_text(secret["ca.crt"], encoding="utf-8")
            environment["GIT_SSL_CAINFO"] = str(authority)
        return environment

    async def _apply(self, client: KubernetesClient, kustomization: dict[str, Any]) -> None:
        spec, status = kustomization["spec"], kustomization.get("status", {})
        source = await client.get(f"{_at(SOURCES)}/{spec['sourceRef']['name']}")
        artifact = (source or {}).get("status", {}).get("artifact")
        if not artifact or status.get("lastAttemptedRevision") == artifact["revision"]:
            return
        done = {"lastAttemptedRevision": artifact["revision"]}
        try:
            key = await _age_key(client, spec)
            wanted = {}
            for thing in manifests.read(Path(artifact["path"]) / spec["path"]):
                path = await manifests.path_of(client, thing)
                await client.apply(path, await manifests.decrypted(thing, key), APPLIER)
                wanted[path] = {"id": path, "v": "v1"}
        except Exception as error:  # whatever is wrong with a repository is told, and waited for
            await _report(client, KUSTOMIZATIONS, kustomization, "False", str(error), **done)
            return
        await self._prune(client, kustomization, set(wanted))
        await _report(
            client,
            KUSTOMIZATIONS,
            kustomization,
            "True",
            f"Applied revision: {artifact['revision']}",
            lastAppliedRevision=artifact["revision"],
            inventory={"entries": list(wanted.values())},
            **done,
        )

    async def _prune(
        self, client: KubernetesClient, kustomization: dict[str, Any], wanted: set[str]
    ) -> None:
        entries = kustomization.get("status", {}).get("inventory", {}).get("entries", [])
        for path in {entry["id"] for entry in entries} - wanted:
            await client.delete(path)


def _at(kind: str) -> str:
    group, _, plural = kind.rpartition("/")
    return f"{group}/namespaces/flux-system/{plural}"


def _path(kind: str, it: dict[str, Any]) -> str:
    group, _, plural = kind.rpartition("/")
    metadata = it["metadata"]
    return f"{group}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"


def _is_ready(it: dict[str, Any]) -> bool:
    conditions = it.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _report(
    client: KubernetesClient, kind: str, it: dict[str, Any], ready: str, message: str, **more: Any
) -> None:
    condition = {
        "type": "Ready",
        "status": ready,
        "reason": "Succeeded" if ready == "True" else "Failed",
        "message": message,
        "lastTransitionTime": _now(),
        "observedGeneration": it["metadata"]["generation"],
    }
    status = {"conditions": [condition]} | more
    await client.patch(f"{_path(kind, it)}/status", {"status": status})


async def _secret(client: KubernetesClient, reference: dict[str, str] | None) -> dict[str, str]:
    """What a secret holds; nothing where none is named."""
    if reference is None:
        return {}
    found = await client.get(f"{SPACE}/secrets/{reference['name']}")
    if found is None:
        raise OSError(f'secrets "{reference["name"]}" not found')
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


async def _age_key(client: KubernetesClient, spec: dict[str, Any]) -> str:
    secret = await _secret(client, spec.get("decryption", {}).get("secretRef"))
    return "\n".join(value for key, value in secret.items() if key.endswith(".agekey"))
