"""The stack: image, machines, cluster, storage, network, ingress, demo site, Flux, record."""

import gc

gc.disable()  # A run is short: searching all that is imported for garbage takes longer than it.

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_proxmoxve as proxmoxve
import pulumiverse_talos as talos

from components.flux import Flux, FluxArgs
from components.image import TalosImage, TalosImageArgs
from components.longhorn import Longhorn, LonghornArgs
from components.machines import Machines, MachinesArgs
from components.metallb import MetalLB, MetalLBArgs
from components.talos.cluster import TalosCluster, TalosClusterArgs
from components.traefik.traefik import Traefik, TraefikArgs
from components.whoami import Whoami, WhoamiArgs
from lifecycle.deployment_record import DeploymentRecord
from preflight.machines import check_machines, proxmox_options
from preflight.state import load_settings

settings = load_settings()
guard = check_machines(settings)
proxmox = proxmoxve.Provider("proxmox", **proxmox_options(settings))
factory = talos.Provider("talos", image_factory_url=settings.image.factory)
gates = pulumi.ProviderResource("pulumi-python", "gates")
outside = pulumi.ResourceOptions(providers=[proxmox, factory, gates])

image = TalosImage("image", TalosImageArgs.of(settings, guard.birth), outside)
machines = Machines("machines", MachinesArgs.of(settings, guard.machines, image.image_ids), outside)
talos_args = TalosClusterArgs.of(settings, image.installer, machines.machines, **guard.cluster)
cluster = TalosCluster("cluster", talos_args, outside)

# A renewed kubeconfig is no new cluster; and what a killed run made is taken up, not in the way.
identity = {"kubeconfig": cluster.kubeconfig, "cluster_identifier": settings.stack_tag}
api = kubernetes.Provider("kubernetes", cluster.gate(), **identity, **cluster.takes_over)
inside = cluster.inside(api, gates)
longhorn = Longhorn("longhorn", LonghornArgs.of(settings, cluster.access), inside)
metallb = MetalLB("metallb", MetalLBArgs.of(settings), inside)
traefik_args = TraefikArgs.of(settings, longhorn.storage_class, after=[longhorn, metallb])
traefik = Traefik("traefik", traefik_args, inside)
whoami = Whoami("whoami", WhoamiArgs.of(settings, traefik, traefik.resolver), inside)
applications = [longhorn, metallb, traefik, whoami]
if settings.flux:
    flux = Flux("flux", FluxArgs.of(settings, cluster.access, after=[traefik]), inside)
    pulumi.export("flux", flux.health)
    applications.append(flux)
DeploymentRecord("record", settings, cluster.after(applications, gates))

pulumi.export("kubeconfig", cluster.kubeconfig)
pulumi.export("talosconfig", cluster.talosconfig)
pulumi.export("certificates", cluster.certificates)
pulumi.export("api_endpoint", cluster.endpoint)
pulumi.export("ingress_address", traefik.address)
pulumi.export("nodes", machines.table)
pulumi.export("url", whoami.url)

gc.freeze()  # At its end Python would search once more: 0.2 s.
