"""The Talos image: a schematic of the Image Factory, and its disk image on each Proxmox host.

Leaves out upgrades of running machines: a new version makes a new file beside the old one, and
touches no machine.
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
"""What the castle cannot do without: Longhorn asks for the first and the last (facts/charts.md 4),
Proxmox for the guest agent."""


@dataclass(frozen=True, kw_only=True)
class TalosImageArgs:
    """What image to have, and where."""

    version: str
    """Talos version, with its leading v."""
    extensions: Sequence[str]
    """Official system extensions beside ``EXTENSIONS``."""
    kernel_arguments: Sequence[str]
    """Extra arguments of the kernel. They are the image's, and reach a living node by an upgrade:
    Talos 1.12 and newer boots with the arguments of its image alone (siderolabs/talos ec0a813)."""
    factory: str
    """Address of the Image Factory, without a trailing slash."""
    hosts: Sequence[str]
    """The Proxmox nodes that need the image."""
    datastore: str
    """Storage on each host, with content type ``import``; hosts may share one."""
    stack_tag: str
    """Identity of the castle; begins the file's name, so that two castles never share a file."""
    hooks: pulumi.ResourceHookBinding | None = None
    """Hooks that refuse a new cluster while a VM id is taken (``preflight/machines.py``)."""

    @classmethod
    def of(cls, settings: Settings, hooks: pulumi.ResourceHookBinding | None) -> TalosImageArgs:
        """The image that a stack asks for, on every host that carries a machine."""
        return cls(
            version=settings.cluster.talos,
            extensions=settings.image.extensions,
            kernel_arguments=settings.image.kernel_arguments,
            factory=settings.image.factory,
            hosts=sorted({node.host for node in settings.machines}),
            datastore=settings.proxmox.image_datastore,
            stack_tag=settings.stack_tag,
            hooks=hooks,
        )


class TalosImage(pulumi.ComponentResource):
    """A Talos image with our extensions, by the API alone: no SSH to any host."""

    ids: Mapping[str, pulumi.Output[str]]
    """By host: the disk image's volume id, ``local:import/NAME.qcow2``."""
    installer: pulumi.Output[str]
    """The install image of the same schematic, so that an upgrade keeps the extensions. It is the
    nocloud one: the plain installer forgets the static address (siderolabs/talos#8625)."""

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
            # An update in place keeps the old id for ever (facts/end-to-end.md 8).
            opts=pulumi.ResourceOptions(
                parent=self, replace_on_changes=["schematic"], hooks=args.hooks
            ),
        )
        # The factory's own list of addresses knows only raw.xz, which Proxmox cannot unpack.
        url = pulumi.Output.concat(
            args.factory, "/image/", schematic.id, "/", args.version, "/nocloud-amd64.qcow2"
        )
        # A new file for a new version or schematic: Pulumi creates it before it deletes the old.
        # And one for each host: on a storage that hosts share they would be in each other's way.
        file_name = pulumi.Output.concat(args.stack_tag, "-talos-", args.version, "-", schematic.id)
        self.ids = {
            host: proxmoxve.download.File(
                f"{name}-{host}",
                node_name=host,
                datastore_id=args.datastore,
                content_type="import",
                url=url,
                file_name=pulumi.Output.concat(file_name, "-", host, ".qcow2"),
                # A refresh does not ask the factory again, and a file that dropped out of the
                # state is taken back instead of being in the way (facts/end-to-end.md 14).
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
