"""A Secret of Kubernetes, whose content is secret in the state too."""

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
    """Make a Secret ``name`` in ``namespace`` of texts by key."""
    # As the provider would make it of text: else it has a diff that cannot be ignored.
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
