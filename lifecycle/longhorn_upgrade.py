"""A check before Longhorn's release is changed to another version.

A hook of the release: the engine runs it in the preview, and again before it changes the release.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pulumi

from clients.kubernetes.api import ApiError, ClusterApi
from lifecycle.operations.longhorn import upgrade_refusal


def upgrade_check(kubeconfig: pulumi.Input[str]) -> pulumi.ResourceHookBinding:
    """The hook that refuses a version that Longhorn cannot become."""
    access = pulumi.Output.secret(kubeconfig)

    async def check(args: pulumi.ResourceHookArgs) -> None:
        versions = _version(args.old_inputs), _version(args.new_inputs)
        text = await access.future()
        if all(versions) and versions[0] != versions[1] and text is not None:
            await asyncio.to_thread(_check, text, *versions)

    options = pulumi.ResourceHookOptions(on_dry_run=True)
    hook = pulumi.ResourceHook("longhorn-upgrade-is-possible", check, options)
    return pulumi.ResourceHookBinding(before_update=[hook])


def _version(inputs: Any) -> str:
    return str((inputs or {}).get("version") or "")


def _check(kubeconfig: str, old: str, new: str) -> None:
    """Raise ``RuntimeError`` if Longhorn cannot be upgraded.

    A preview warns and continues if the cluster does not answer.
    """
    try:
        refusal = upgrade_refusal(ClusterApi.of(kubeconfig), old, new)
    except ApiError as error:
        text = f"Whether Longhorn can become {new} is not known: {error}."
        if not pulumi.runtime.is_dry_run():
            raise RuntimeError(f"{text} Longhorn has not been changed.") from None
        pulumi.log.warn(text)
        return
    if refusal:
        raise RuntimeError(refusal)
