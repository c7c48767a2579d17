"""A Pulumi hook that refuses an impossible upgrade of Longhorn, in previews and in ``up``."""

from __future__ import annotations

import asyncio
from typing import Any

import pulumi

from clients.errors import OperationError
from clients.kubernetes.api import ClusterApi
from lifecycle.operations.longhorn import upgrade_refusal


def upgrade_check(kubeconfig: pulumi.Input[str]) -> pulumi.ResourceHookBinding:
    """Create the hook for the Helm release; ``kubeconfig`` becomes a secret."""
    secret_kubeconfig = pulumi.Output.secret(kubeconfig)

    async def check(args: pulumi.ResourceHookArgs) -> None:
        versions = _version(args.old_inputs), _version(args.new_inputs)
        text = await secret_kubeconfig.future()
        if all(versions) and versions[0] != versions[1] and text is not None:
            await asyncio.to_thread(_check, text, *versions)

    options = pulumi.ResourceHookOptions(on_dry_run=True)
    hook = pulumi.ResourceHook("longhorn-upgrade-is-possible", check, options)
    return pulumi.ResourceHookBinding(before_update=[hook])


def _version(inputs: Any) -> str:
    return str((inputs or {}).get("version") or "")


def _check(kubeconfig: str, old: str, new: str) -> None:
    """Raise ``RuntimeError`` if Longhorn cannot be upgraded, or if that is unknown in an ``up``.

    If the cluster does not answer in a preview, this only warns.
    """
    try:
        refusal = upgrade_refusal(ClusterApi.of(kubeconfig), old, new)
    except OperationError as error:
        text = f"It is unknown whether Longhorn can be upgraded to {new}: {error}."
        if not pulumi.runtime.is_dry_run():
            raise RuntimeError(f"{text} Longhorn has not been changed.") from None
        pulumi.log.warn(text)
        return
    if refusal:
        raise RuntimeError(refusal)
