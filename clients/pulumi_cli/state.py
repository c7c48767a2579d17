"""Values in the Pulumi state of a stack."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from clients.pulumi_cli.session import PulumiError, StackReader
from clients.tls import ClientCredentials

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
    return _secret_output(reader, "kubeconfig")


def talos_credentials(reader: StackReader) -> ClientCredentials | None:
    """The credentials of the stack output ``talosconfig``; None if it is missing.

    Raises ``PulumiError``, as ``kubeconfig`` does.
    """
    text = _secret_output(reader, "talosconfig")
    if text is None:
        return None
    config = yaml.safe_load(text)
    found = config["contexts"][config["context"]]
    return ClientCredentials(
        ca_certificate=found["ca"], client_certificate=found["crt"], client_key=found["key"]
    )


def _secret_output(reader: StackReader, name: str) -> str | None:
    try:
        if _output(reader.resources(), name) is None:
            return None
        return str(opened(_output(reader.resources(secrets=True), name)))
    except PulumiError as error:
        detail = f"the {name} of the cluster cannot be read: {error.without_output}"
        raise PulumiError(error.operation, error.subject, detail) from None


def _output(resources: Iterable[Mapping[str, Any]], name: str) -> Any:
    stacks = (it for it in resources if it["type"] == STACK)
    return next((it.get("outputs", {}).get(name) for it in stacks), None)
