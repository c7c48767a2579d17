"""The Talos image: a schematic of the Image Factory, and its disk image on each Proxmox host.

A new version adds a new file and changes no VM. ``lifecycle/node.py`` upgrades running nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_proxmoxve as proxmoxve
import pulumiverse_talos as talos
import yaml

from settings.models import Settings

EXTENSIONS = (
    "siderolabs/iscsi-tools",
    "siderolabs/qemu-guest-agent",
    "siderolabs/util-linux-tools",
)
"""Required extensions: Longhorn 1.12 needs iscsi-tools and util-linux-tools, Proxmox the agent."""


@dataclass(frozen=True, kw_only=True)
class TalosImageArgs:
    """Arguments of ``TalosImage``."""

    version: str
    """Talos version, with its leading v."""
    extensions: Sequence[str]
    """Official system extensions in addition to ``EXTENSIONS``."""
    kernel_arguments: Sequence[str]
    """Extra kernel arguments. They are part of the image, so a running node gets them by an upgrade
    (Talos 1.12 and newer uses only the arguments of its image, siderolabs/talos ec0a813)."""
    factory: str
    """URL of the Image Factory, without a trailing slash."""
    hosts: Sequence[str]
    """Proxmox hosts that need the image."""
    datastore: str
    """Storage with content type ``import`` on each host; hosts may share it."""
    stack_tag: str
    """Tag of the stack. File names start with it, so that two stacks never share a file."""

    @classmethod
    def of(cls, settings: Settings) -> TalosImageArgs:
        """Create the arguments from the settings, for every host that has a VM."""
        return cls(
            version=settings.cluster.talos,
            extensions=settings.image.extensions,
            kernel_arguments=settings.image.kernel_arguments,
            factory=settings.image.factory,
            hosts=sorted({node.host for node in settings.machines}),
            datastore=settings.proxmox.image_datastore,
            stack_tag=settings.stack_tag,
        )


class TalosImage(pulumi.ComponentResource):
    """A Talos image with system extensions, downloaded by Proxmox through its API (no SSH)."""

    ids: Mapping[str, pulumi.Output[str]]
    """By host: the volume id of the disk image, ``local:import/NAME.qcow2``."""
    installer: pulumi.Output[str]
    """The install image of the same schematic, so an upgrade has the same extensions. It is the
    nocloud installer: the plain installer loses the static address (siderolabs/talos#8625)."""

    def __init__(
        self, name: str, args: TalosImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:TalosImage", name, None, opts)
        extensions = sorted({*EXTENSIONS, *args.extensions})
        customization: dict[str, Any] = {"systemExtensions": {"officialExtensions": extensions}}
        if args.kernel_arguments:
            customization["extraKernelArgs"] = list(args.kernel_arguments)
        schematic = talos.imagefactory.Schematic(
            f"{name}-schematic",
            schematic=yaml.safe_dump({"customization": customization}),
            # A Pulumi update cannot change a resource id, so the old schematic id would stay.
            opts=pulumi.ResourceOptions(parent=self, replace_on_changes=["schematic"]),
        )
        # The provider's getUrls returns only raw.xz for nocloud, which Proxmox cannot unpack. The
        # factory offers qcow2 too.
        url = pulumi.Output.concat(
            args.factory, "/image/", schematic.id, "/", args.version, "/nocloud-amd64.qcow2"
        )
        # The name contains version and schematic, because Pulumi creates the new file before it
        # deletes the old one; and the host, because hosts may share the storage.
        file_name = pulumi.Output.concat(args.stack_tag, "-talos-", args.version, "-", schematic.id)
        self.ids = {
            host: proxmoxve.download.File(
                f"{name}-{host}",
                node_name=host,
                datastore_id=args.datastore,
                content_type="import",
                url=url,
                file_name=pulumi.Output.concat(file_name, "-", host, ".qcow2"),
                # overwrite=False: a refresh does not query the factory for the size of the file.
                # overwrite_unmanaged: replaces a file that is not in the state. The provider drops
                # a file from the state if a refresh cannot list the storage.
                overwrite=False,
                overwrite_unmanaged=True,
                upload_timeout=1800,
                opts=pulumi.ResourceOptions(parent=self),
            ).id
            for host in args.hosts
        }
        registry = args.factory.partition("://")[2]
        self.installer = pulumi.Output.concat(
            registry, "/nocloud-installer/", schematic.id, ":", args.version
        )
        self.register_outputs({"ids": self.ids, "installer": self.installer})
