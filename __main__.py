"""The deployment: Talos image, VMs, cluster, storage, load balancer, ingress, demo site, Flux."""

import pulumi
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
from lifecycle.deployment_record import DeploymentRecord, DeploymentRecordArgs
from preflight.machines import check_machines, proxmox_credentials
from preflight.sources import load_settings, read_certificates, read_flux_health

settings = load_settings()
checks = check_machines(settings)
proxmox = proxmoxve.Provider("proxmox", proxmox_credentials(settings))
image_factory = talos.Provider("talos", image_factory_url=settings.image.factory)
dynamic_provider = pulumi.ProviderResource("pulumi-python", "dynamic")
on_proxmox = pulumi.ResourceOptions(providers=[proxmox, image_factory, dynamic_provider])
image = TalosImage("image", TalosImageArgs.of(settings), on_proxmox)
machines = Machines("machines", MachinesArgs.of(settings, image.ids, checks.vms), on_proxmox)
cluster_args = TalosClusterArgs.of(settings, image.installer, machines.vms, checks.findings)
cluster = TalosCluster("cluster", cluster_args, on_proxmox)
in_cluster = cluster.application_options(dynamic_provider)
longhorn = Longhorn("longhorn", LonghornArgs.of(settings, cluster.internal_kubeconfig), in_cluster)
metallb = MetalLB("metallb", MetalLBArgs.of(settings), in_cluster)
backup = read_certificates(settings)
traefik_args = TraefikArgs.of(settings, longhorn.storage_class, [longhorn, metallb], backup)
traefik = Traefik("traefik", traefik_args, in_cluster)
whoami = Whoami("whoami", WhoamiArgs.of(settings, traefik, traefik.acme_resolver), in_cluster)
applications = [longhorn, metallb, traefik, whoami]
if settings.flux:
    flux_args = FluxArgs.of(settings, cluster.internal_kubeconfig, [traefik], read_flux_health)
    flux = Flux("flux", flux_args, in_cluster)
    pulumi.export("flux", flux.health)
    applications.append(flux)
record_options = cluster.record_options(applications, dynamic_provider)
DeploymentRecord("record", DeploymentRecordArgs(settings), record_options)
pulumi.export("kubeconfig", cluster.kubeconfig)
pulumi.export("talosconfig", cluster.talosconfig)
pulumi.export("certificates", cluster.certificates)
pulumi.export("api_endpoint", cluster.endpoint)
pulumi.export("ingress_address", traefik.address)
pulumi.export("nodes", machines.table)
pulumi.export("url", whoami.url)
