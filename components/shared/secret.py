"""Kubernetes Secrets whose data is also a secret in the Pulumi state."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as kubernetes


def make_secret(
    parent: pulumi.Resource,
    resource_name: str,
    name: str,
    namespace: str,
    data: Mapping[str, str],
    opts: pulumi.ResourceOptions,
) -> kubernetes.core.v1.Secret:
    """Create the Secret ``name`` in ``namespace``; ``data`` are plain texts by key."""
    # Base64, not string_data: the provider shows a diff for string_data that ignore_changes cannot
    # suppress.
    encoded = {key: b64encode(text.encode()).decode() for key, text in data.items()}
    limits = pulumi.CustomTimeouts(create="2m", update="2m", delete="2m")
    return kubernetes.core.v1.Secret(
        resource_name,
        metadata={"name": name, "namespace": namespace},
        data=pulumi.Output.secret(encoded),
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(parent=parent, custom_timeouts=limits)
        ),
    )
