"""Kubernetes objects that several components create, each with its timeouts.

Namespaces have the Pod Security level that their pods need: Talos enforces the level ``baseline``
in all namespaces except kube-system. A chart whose pods need more would install without an error,
but its pods would never start.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from settings.chart_source import ChartSource

Level = Literal["privileged", "baseline", "restricted"]


def timeouts(minutes: int) -> pulumi.CustomTimeouts:
    """Return the same timeout for create, update and delete."""
    limit = f"{minutes}m"
    return pulumi.CustomTimeouts(create=limit, update=limit, delete=limit)


def namespace_labels(level: Level) -> dict[str, str]:
    """Return the labels of a namespace that allows pods of this level."""
    return {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}


def make_namespace(
    parent: pulumi.Resource,
    resource_name: str,
    name: str,
    level: Level,
    after: Sequence[pulumi.Resource] = (),
) -> kubernetes.core.v1.Namespace:
    """Create the namespace ``name`` as a child of ``parent``, after the resources ``after``."""
    return kubernetes.core.v1.Namespace(
        resource_name,
        metadata={"name": name, "labels": namespace_labels(level)},
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=after,
            # Kubernetes deletes a namespace only after all objects in it.
            custom_timeouts=pulumi.CustomTimeouts(create="2m", update="2m", delete="10m"),
        ),
    )


def make_secret(
    parent: pulumi.Resource,
    resource_name: str,
    namespace: str,
    name: str,
    data: Mapping[str, str],
    after: Sequence[pulumi.Resource],
    ignore_changes: list[str] | None = None,
) -> kubernetes.core.v1.Secret:
    """Create the Secret ``name``; ``data`` are plain texts by key, a secret in the state too."""
    # Base64, not string_data: the provider shows a diff for string_data that ignore_changes cannot
    # suppress.
    encoded = {key: b64encode(text.encode()).decode() for key, text in data.items()}
    return kubernetes.core.v1.Secret(
        resource_name,
        metadata={"name": name, "namespace": namespace},
        data=pulumi.Output.secret(encoded),
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=after,
            ignore_changes=ignore_changes,
            custom_timeouts=timeouts(2),
        ),
    )


def make_release(
    parent: pulumi.Resource,
    resource_name: str,
    namespace: str,
    chart: ChartSource,
    values: Mapping[str, Any],
    after: Sequence[pulumi.Resource],
    *,
    minutes: int = 10,
    hooks: pulumi.ResourceHookBinding | None = None,
) -> kubernetes.helm.v3.Release:
    """Install a Helm chart, after the resources ``after``. The release has the chart's name.

    ``minutes`` is the timeout of Helm and of the resource.
    """
    return kubernetes.helm.v3.Release(
        resource_name,
        name=chart.name,
        namespace=namespace,
        **chart.release_args(),
        values=values,
        timeout=minutes * 60,
        opts=pulumi.ResourceOptions(
            parent=parent, depends_on=after, custom_timeouts=timeouts(minutes), hooks=hooks
        ),
    )


def make_custom_object(
    parent: pulumi.Resource,
    resource_name: str,
    namespace: str,
    name: str,
    kind: str,
    spec: Mapping[str, Any],
    after: Sequence[pulumi.Resource],
    *,
    deleted_with: pulumi.Resource | None = None,
) -> kubernetes.apiextensions.CustomResource:
    """Create an object of a custom resource definition, after the resources ``after``.

    ``kind`` is API version and kind, such as ``metallb.io/v1beta1/IPAddressPool``.
    """
    api_version, _, kind_name = kind.rpartition("/")
    return kubernetes.apiextensions.CustomResource(
        resource_name,
        api_version=api_version,
        kind=kind_name,
        metadata={"name": name, "namespace": namespace},
        spec=spec,
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=after,
            deleted_with=deleted_with,
            custom_timeouts=timeouts(5),
        ),
    )
