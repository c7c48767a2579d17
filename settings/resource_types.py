"""Type tokens of the Pulumi resources that this program creates."""

from __future__ import annotations

SCHEMATIC = "talos:imageFactory/schematic:Schematic"
FILE = "proxmoxve:download/file:File"
MACHINE = "proxmoxve:index/vmLegacy:VmLegacy"
MACHINE_POOL = "proxmoxve:index/poolLegacy:PoolLegacy"
SECRETS = "talos:machine/secrets:Secrets"
APPLY = "talos:machine/configurationApply:ConfigurationApply"
BOOTSTRAP = "pulumi-python:dynamic/ephemeral-castle:Bootstrap"
READY = "pulumi-python:dynamic/ephemeral-castle:ClusterReadiness"
NODE = "pulumi-python:dynamic/ephemeral-castle:NodeLifecycle"
RECORD = "pulumi-python:dynamic/ephemeral-castle:DeploymentRecord"
SNAPSHOT = "pulumi-python:dynamic/ephemeral-castle:EtcdSnapshot"
KUBERNETES_VERSION = "pulumi-python:dynamic/ephemeral-castle:KubernetesVersion"
RETAINED_DISK = "pulumi-python:dynamic/ephemeral-castle:RetainedDisk"
STORAGE = "pulumi-python:dynamic/ephemeral-castle:LonghornStorage"
PROVIDER = "pulumi:providers:kubernetes"
PROXMOX_PROVIDER = "pulumi:providers:proxmoxve"
ANY_PROVIDER = "pulumi:providers:"
"""Start of the type of every explicit provider."""
NAMESPACE = "kubernetes:core/v1:Namespace"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
RELEASE = "kubernetes:helm.sh/v3:Release"
POOL = "kubernetes:metallb.io/v1beta1:IPAddressPool"
ADVERTISEMENT = "kubernetes:metallb.io/v1beta1:L2Advertisement"
INSTANCE = "kubernetes:fluxcd.controlplane.io/v1:FluxInstance"
UNINSTALL = "pulumi-python:dynamic/ephemeral-castle:FluxUninstall"
FLUX_READY = "pulumi-python:dynamic/ephemeral-castle:FluxReady"
SECRET = "kubernetes:core/v1:Secret"


def is_resource(type_: str) -> bool:
    """Whether a type is that of a resource, and not of the stack, a provider or a component."""
    return not type_.startswith(("pulumi:", "ephemeral-castle:"))
