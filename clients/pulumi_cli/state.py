"""Values in the Pulumi state of a stack."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from clients.pulumi_cli.session import PulumiError, StackReader

STACK = "pulumi:pulumi:Stack"
"""Type of the resource that has the stack outputs."""


def opened(value: Any) -> Any:
    """The value of an output in a decrypted state, without Pulumi's wrapper of secrets."""
    if isinstance(value, Mapping) and "plaintext" in value:
        return json.loads(value["plaintext"])
    return value


def kubeconfig(reader: StackReader) -> str | None:
    """The stack output ``kubeconfig``; None if it is missing. Never write it to a file.

    The secrets are decrypted only if the output exists. Raises ``PulumiError``, whose text has no
    output of the CLI.
    """
    try:
        if _output(reader.resources(), "kubeconfig") is None:
            return None
        return str(opened(_output(reader.resources(secrets=True), "kubeconfig")))
    except PulumiError as error:
        detail = f"the kubeconfig of the cluster cannot be read: {error.without_output}"
        raise PulumiError(error.operation, error.subject, detail) from None


def _output(resources: Iterable[Mapping[str, Any]], name: str) -> Any:
    stacks = (it for it in resources if it["type"] == STACK)
    return next((it.get("outputs", {}).get(name) for it in stacks), None)
