"""The Talos cluster: secrets, machine configs, bootstrap, readiness, kubeconfig and talosconfig.

The machine config is rendered once for each role. Values of a single node are patches of its
``ConfigurationApply``, so that a node needs no provider call in a preview. Operations on running
nodes are in ``lifecycle/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_kubernetes as kubernetes
import pulumiverse_talos as talos
import yaml

from components.talos.args import TalosClusterArgs
from components.talos.machine_config import node_patches, role_patch
from lifecycle.bootstrap import Bootstrap, BootstrapArgs
from lifecycle.cluster_versions import (
    ClusterVersionArgs,
    EtcdSnapshot,
    EtcdSnapshotArgs,
    KubernetesVersion,
)
from lifecycle.node import LOST, MachineState, NodeLifecycle, NodeLifecycleArgs
from lifecycle.readiness import ClusterReadiness, ClusterReadinessArgs
from settings.node import Node, Role

if TYPE_CHECKING:
    from clients.talos.credentials import ClusterCredentials
    from clients.tls import ClientCredentials

__all__ = ["TalosCluster", "TalosClusterArgs"]


class TalosCluster(pulumi.ComponentResource):
    """A Talos cluster. Its outputs can be used after ``ready`` was created."""

    kubeconfig: pulumi.Output[str]
    """Admin kubeconfig (secret)."""
    internal_kubeconfig: pulumi.Output[str]
    """Kubeconfig (secret) for inputs of resources: it does not expire before the cluster's CAs."""
    talosconfig: pulumi.Output[str]
    """Admin talosconfig (secret). Its endpoints are the control planes, never the VIP."""
    endpoint: str
    """URL of the Kubernetes API at the VIP."""
    certificates: pulumi.Output[Mapping[str, str]]
    """Expiry dates of ``kubeconfig``, ``talosconfig`` and the CAs that sign them
    (``authorities``)."""
    machine_secrets: talos.machine.Secrets
    """CAs and tokens of the cluster, deleted only with the whole stack. All resources in the
    cluster are ``deleted_with`` it, so that a destroy does not contact the cluster."""
    ready: ClusterReadiness
    """Resource that is created when all nodes are ready in Kubernetes."""

    def __init__(
        self, name: str, args: TalosClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:TalosCluster", name, None, opts)
        self._args = args
        self.endpoint = f"https://{args.vip}:6443"
        self.machine_secrets = talos.machine.Secrets(
            f"{name}-secrets",
            talos_version=args.talos_version,
            # The provider would create new secrets for a running cluster if this version changed
            # (terraform-provider-talos#381).
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=["talosVersion"],
                import_=args.restore.import_id() if args.restore else None,
            ),
        )
        issued = self.machine_secrets.machine_secrets.apply(
            lambda it: _issue(it.certs, args.cluster_name, self.endpoint)
        )
        self._client = pulumi.Output.secret(issued.apply(lambda it: it[0]))
        configurations = {
            role: self._render_config(role)
            for role in dict.fromkeys(node.role for node in args.nodes)
        }
        patches = {node.name: node_patches(node, args) for node in args.nodes}
        nodes, upgraded = self._create_nodes(name, configurations, patches, issued)
        applied = self._apply_configs(name, configurations, patches, nodes, upgraded)
        bootstrap = self._bootstrap(name, applied, nodes)
        self.ready = ClusterReadiness(
            f"{name}-readiness",
            ClusterReadinessArgs(
                nodes=args.nodes,
                generations={node: it.generation for node, it in nodes.items()},
                endpoint=self.endpoint,
                restored=args.restore is not None,
                credentials=pulumi.Output.secret(issued.apply(lambda it: vars(it[1].kubernetes))),
                talos_credentials=pulumi.Output.secret(issued.apply(lambda it: vars(it[0]))),
            ),
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[*applied.values(), bootstrap],
                deleted_with=self.machine_secrets,
            ),
        )
        given = issued.apply(lambda it: it[1])
        self.kubeconfig = pulumi.Output.secret(given.kubeconfig)
        self.internal_kubeconfig = pulumi.Output.secret(given.internal_kubeconfig)
        self.talosconfig = self._render_talosconfig(given.talos)
        self.certificates = pulumi.Output.unsecret(given.ends)
        # Resources are registered by id, so that the state does not contain their values twice.
        self.register_outputs(
            {
                "kubeconfig": self.kubeconfig,
                "internal_kubeconfig": self.internal_kubeconfig,
                "talosconfig": self.talosconfig,
                "endpoint": self.endpoint,
                "certificates": self.certificates,
                "machine_secrets": self.machine_secrets.id,
                "ready": self.ready.id,
            }
        )

    def application_options(
        self, dynamic_provider: pulumi.ProviderResource
    ) -> pulumi.ResourceOptions:
        """Create the Kubernetes provider, and return the resource options for applications.

        Applications are ``deleted_with`` the machine secrets: a destroy of the stack does not
        contact the cluster, and a replaced VM does not affect them.
        """
        restore = self._args.restore
        provider = kubernetes.Provider(
            "kubernetes",
            kubeconfig=self.kubeconfig,
            # With an identifier, a renewed kubeconfig does not count as another cluster, which
            # would replace all resources.
            cluster_identifier=self._args.context.cluster,
            # A killed `up` may have created objects that are not in the state.
            upsert_existing_objects=True,
            # In a restored cluster the objects have the field managers of the old cluster.
            enable_patch_force=True if restore else None,
            opts=pulumi.ResourceOptions(
                # depends_on instead of a kubeconfig that is an output of `ready`: with every new
                # node it would be unknown, and all Kubernetes resources would preview as changed.
                depends_on=[self.ready],
                deleted_with=self.machine_secrets,
                # cluster.restore_from is used once. Removing it from the stack file later must not
                # change the provider.
                ignore_changes=["enablePatchForce"],
            ),
        )
        return pulumi.ResourceOptions(
            providers=[provider, dynamic_provider],
            deleted_with=self.machine_secrets,
            transformations=[restore.over_old_releases(self.kubeconfig)] if restore else None,
        )

    def record_options(
        self, applications: Sequence[pulumi.Resource], provider: pulumi.ProviderResource
    ) -> pulumi.ResourceOptions:
        """Return the options of the deployment record: it is created after everything else."""
        return pulumi.ResourceOptions(
            provider=provider,
            depends_on=[self.ready, *applications],
            deleted_with=self.machine_secrets,
        )

    def _render_config(self, role: Role) -> pulumi.Output[str]:
        """Render the machine config of a role (secret)."""
        args = self._args
        patch = pulumi.Output.from_input(args.installer).apply(
            lambda installer: yaml.safe_dump(role_patch(installer, args.nodes))
        )
        configuration = talos.machine.get_configuration_output(
            cluster_name=args.cluster_name,
            cluster_endpoint=self.endpoint,
            machine_type="controlplane" if role is Role.CONTROL_PLANE else "worker",
            machine_secrets=self.machine_secrets.machine_secrets.apply(_typed_secrets),
            talos_version=args.talos_version,
            kubernetes_version=args.kubernetes_version,
            config_patches=[patch],
            docs=False,
            examples=False,
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        return pulumi.Output.secret(configuration.machine_configuration)

    def _create_nodes(
        self,
        name: str,
        configurations: Mapping[Role, pulumi.Output[str]],
        patches: Mapping[str, Sequence[pulumi.Input[str]]],
        issued: pulumi.Output[Any],
    ) -> tuple[dict[str, NodeLifecycle], KubernetesVersion]:
        """Create the resources for operations on the running cluster, and chain them.

        Order: remove lost nodes, save a snapshot of etcd, upgrade the nodes one by one (control
        planes first), upgrade Kubernetes. Lost nodes come first because they would block the rest.
        """
        args = self._args
        node_credentials: pulumi.Output[Mapping[str, str]] = issued.apply(
            lambda it: pulumi.Output.secret(
                {
                    **vars(it[0]),
                    "access": it[1].internal_kubeconfig,
                    "proxmox_token": args.proxmox_token,
                }
            )
        )
        lifecycles: dict[str, NodeLifecycle] = {}

        def chain(nodes: Sequence[Node], before: Sequence[pulumi.Resource]) -> None:
            for node in nodes:
                lifecycles[node.name] = NodeLifecycle(
                    f"{name}-{node.name}",
                    NodeLifecycleArgs(
                        node=node,
                        has_come_up=args.running.machine_has_come_up(node.name),
                        datastore=args.datastore,
                        context=args.context,
                        installer=args.installer,
                        configuration=configurations[node.role],
                        patches=patches[node.name],
                        machine_state=_machine_state(node, args),
                        credentials=node_credentials,
                    ),
                    # Not deleted_with its VM: the delete of this resource removes the node from the
                    # cluster, and its generation counter must survive a replaced VM.
                    pulumi.ResourceOptions(
                        parent=self,
                        depends_on=[args.vms[node.name], *before],
                        deleted_with=self.machine_secrets,
                    ),
                )
                before = [lifecycles[node.name]]

        def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(
                parent=self,
                depends_on=[*resources, *list(lifecycles.values())[-1:]],
                deleted_with=self.machine_secrets,
            )

        versions = ClusterVersionArgs(
            context=args.context,
            kubernetes=args.kubernetes_version,
            has_come_up=args.running.has_come_up,
            credentials=self._client,
        )
        lost = [node for node in args.nodes if _is_lost(node, args)]
        chain(lost, [])
        snapshot_args = EtcdSnapshotArgs(versions=versions, installer=args.installer)
        snapshot = EtcdSnapshot(f"{name}-etcd-snapshot", snapshot_args, after())
        chain([node for node in args.nodes if node not in lost], [snapshot])
        return lifecycles, KubernetesVersion(f"{name}-kubernetes", versions, after(snapshot))

    def _apply_configs(
        self,
        name: str,
        configurations: Mapping[Role, pulumi.Output[str]],
        patches: Mapping[str, Sequence[pulumi.Input[str]]],
        nodes: Mapping[str, NodeLifecycle],
        upgraded: KubernetesVersion,
    ) -> dict[str, talos.machine.ConfigurationApply]:
        """Send each node its machine config, to all nodes at the same time.

        A change that needs a reboot has already been applied, node by node, by ``NodeLifecycle``.
        """
        client = self._client.apply(lambda it: talos.machine.ClientConfigurationArgs(**vars(it)))
        return {
            node.name: talos.machine.ConfigurationApply(
                f"{name}-{node.name}-config",
                node=str(node.address),
                endpoint=str(node.address),
                client_configuration=client,
                machine_configuration_input=configurations[node.role],
                config_patches=patches[node.name],
                apply_mode="no_reboot",
                timeouts=_TIMEOUTS,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[self._args.vms[node.name], nodes[node.name], upgraded],
                    # A new or reset VM needs its config again.
                    deleted_with=self._args.vms[node.name],
                    replacement_trigger=nodes[node.name].generation,
                    replace_with=[self._args.vms[node.name]],
                ),
            )
            for node in self._args.nodes
        }

    def _bootstrap(
        self,
        name: str,
        applied: Mapping[str, talos.machine.ConfigurationApply],
        nodes: Mapping[str, NodeLifecycle],
    ) -> Bootstrap:
        """Bootstrap etcd on the first control plane, or restore its snapshot there.

        If the only control plane is replaced, etcd is lost and must be bootstrapped again; the same
        is true for the first one of a cluster that never came up. In all other cases a new control
        plane joins the existing etcd.
        """
        args = self._args
        first, *others = _control_planes(args)
        bootstraps_again = not others or not args.running.has_come_up
        return Bootstrap(
            f"{name}-bootstrap",
            BootstrapArgs(node=str(first.address), credentials=self._client, restore=args.restore),
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[applied[first.name]],
                replace_with=[args.vms[first.name]] if bootstraps_again else [],
                replacement_trigger=None if others else nodes[first.name].generation,
            ),
        )

    def _render_talosconfig(self, client: pulumi.Output[Any]) -> pulumi.Output[str]:
        """Render the talosconfig (secret) with the admin's Talos credentials."""
        configuration = talos.client.get_configuration_output(
            cluster_name=self._args.cluster_name,
            # The typed class is needed: an invoke does not convert the snake_case keys of an output
            # to camelCase.
            client_configuration=client.apply(
                lambda it: talos.client.GetConfigurationClientConfigurationArgs(**vars(it))
            ),
            endpoints=[str(node.address) for node in _control_planes(self._args)],
            nodes=[str(node.address) for node in self._args.nodes],
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        return pulumi.Output.secret(configuration.talos_config)


_TIMEOUTS = talos.machine.TimeoutArgs(create="10m", update="10m", delete="10m")
"""All fields are set: if one is missing, the bridge fails after the call (pulumi-talos#252)."""


def _issue(
    certs: Any, cluster_name: str, endpoint: str
) -> tuple[ClientCredentials, ClusterCredentials]:
    """Issue the program's own Talos credentials, and the credentials that users get."""
    from clients.talos import credentials

    return credentials.issue_internal(certs), credentials.issue_admin(certs, cluster_name, endpoint)


def _control_planes(args: TalosClusterArgs) -> list[Node]:
    return [node for node in args.nodes if node.role is Role.CONTROL_PLANE]


def _is_lost(node: Node, args: TalosClusterArgs) -> bool:
    """Tell whether the VM of a node that has come up was deleted or has no machine config."""
    return args.machine_states.get(node.name) in LOST and args.running.machine_has_come_up(
        node.name
    )


def _machine_state(node: Node, args: TalosClusterArgs) -> pulumi.Output[MachineState]:
    """Return the state of a node's VM after Pulumi has created or updated the VM in this run.

    A hook of ``preflight/machines.py`` changes ``args.machine_states`` when Pulumi creates the VM,
    so the state is read in an ``apply``. It is unknown in a preview that creates the VM.
    """
    state: pulumi.Output[MachineState] = args.vms[node.name].id.apply(
        lambda _: args.machine_states.get(node.name, "")
    )
    return state


def _typed_secrets(secrets: Any) -> talos.machine.MachineSecretsArgs:
    """Convert machine secrets to typed arguments: an invoke does not convert snake_case keys."""

    def certificate(pair: Any) -> talos.machine.CertificateArgs:
        return talos.machine.CertificateArgs(cert=pair.cert, key=pair.key)

    return talos.machine.MachineSecretsArgs(
        certs=talos.machine.CertificatesArgs(
            etcd=certificate(secrets.certs.etcd),
            k8s=certificate(secrets.certs.k8s),
            k8s_aggregator=certificate(secrets.certs.k8s_aggregator),
            k8s_serviceaccount=talos.machine.KeyArgs(key=secrets.certs.k8s_serviceaccount.key),
            os=certificate(secrets.certs.os),
        ),
        cluster=talos.machine.ClusterArgs(id=secrets.cluster.id, secret=secrets.cluster.secret),
        secrets=talos.machine.KubernetesSecretsArgs(
            bootstrap_token=secrets.secrets.bootstrap_token,
            secretbox_encryption_secret=secrets.secrets.secretbox_encryption_secret,
            aescbc_encryption_secret=secrets.secrets.aescbc_encryption_secret,
        ),
        trustdinfo=talos.machine.TrustdInfoArgs(token=secrets.trustdinfo.token),
    )
