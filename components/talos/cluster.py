"""Talos: secrets, nodes, machine configs, bootstrap, readiness, kubeconfig and talosconfig.

A node has three resources: its VM, its ``NodeLifecycle`` and its ``ConfigurationApply``. One
configuration is rendered for each role; what differs between nodes are patches of the node's own
``ConfigurationApply``, so that a node needs no invoke. Leaves out everything that runs on
Kubernetes, and the operations on running nodes (``lifecycle``, ``upkeep``).
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
from lifecycle.bootstrap import Bootstrap
from lifecycle.etcd_snapshot import EtcdSnapshot
from lifecycle.kubernetes_version import KubernetesVersion
from lifecycle.node import LOST, MachineState, NodeLifecycle, NodeLifecycleArgs
from lifecycle.readiness import ClusterReadiness, ClusterReadinessArgs
from settings.node import Node, Role

if TYPE_CHECKING:
    from clients.talos.credentials import Client, Given

__all__ = ["TalosCluster", "TalosClusterArgs"]


class TalosCluster(pulumi.ComponentResource):
    """A Talos cluster that answers: what it hands on is usable once ``ready`` exists."""

    kubeconfig: pulumi.Output[str]
    """Admin kubeconfig (secret). Wait for ``ready`` before using it."""
    internal_kubeconfig: pulumi.Output[str]
    """A kubeconfig (secret) that never ends before the cluster: for what the state keeps."""
    talosconfig: pulumi.Output[str]
    """Admin talosconfig (secret); its endpoints are the control planes, never the VIP."""
    endpoint: str
    """Address of the Kubernetes API: the VIP."""
    certificates: pulumi.Output[Mapping[str, str]]
    """When they end: ``kubeconfig``, ``talosconfig``, and the ``authorities`` that sign both."""
    machine_secrets: talos.machine.Secrets
    """What the cluster is: it goes only when the whole castle goes. All that lives in the cluster
    is ``deleted_with`` it, so that a dying cluster is never asked for permission."""
    ready: ClusterReadiness
    """Exists once all nodes are ready in Kubernetes."""

    def __init__(
        self, name: str, args: TalosClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:TalosCluster", name, None, opts)
        self.endpoint = f"https://{args.vip}:6443"
        self.machine_secrets = secrets = talos.machine.Secrets(
            f"{name}-secrets",
            talos_version=args.talos_version,
            # The contract of its birth: another version would make new secrets for a living
            # cluster (terraform-provider-talos#381).
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=["talosVersion"],
                import_=args.restore.import_id() if args.restore else None,
            ),
        )
        issued = secrets.machine_secrets.apply(
            lambda it: _issue(it.certs, args.cluster_name, self.endpoint)
        )
        given = issued.apply(lambda it: it[1])
        self._client = pulumi.Output.secret(issued.apply(lambda it: it[0]))
        configurations = {
            role: self._configuration(role, args, secrets)
            for role in dict.fromkeys(node.role for node in args.nodes)
        }
        patches = {node.name: node_patches(node, args) for node in args.nodes}
        nodes, upgraded = self._nodes(name, args, configurations, patches, issued)
        client = self._client.apply(lambda it: talos.machine.ClientConfigurationArgs(**vars(it)))
        applied = {
            node.name: talos.machine.ConfigurationApply(
                f"{name}-{node.name}-config",
                node=str(node.address),
                endpoint=str(node.address),
                client_configuration=client,
                machine_configuration_input=configurations[node.role],
                config_patches=patches[node.name],
                # All nodes get theirs at once: what needs a reboot has been rolled out before.
                apply_mode="no_reboot",
                timeouts=_TIMEOUTS,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[args.machines[node.name], nodes[node.name], upgraded],
                    # A new machine gets its config again, and the config goes with its machine.
                    deleted_with=args.machines[node.name],
                    replacement_trigger=nodes[node.name].generation,
                    replace_with=[args.machines[node.name]],
                ),
            )
            for node in args.nodes
        }
        control_planes = [node for node in args.nodes if node.role is Role.CONTROL_PLANE]
        first = control_planes[0]
        # A lone control plane takes etcd with it, and so does the first one of a cluster that has
        # never come up; any other joins the etcd of the rest.
        is_lone = len(control_planes) == 1
        holds_etcd = is_lone or not args.running.has_come_up
        bootstrap = Bootstrap(
            f"{name}-bootstrap",
            node=str(first.address),
            credentials=self._client,
            restore=args.restore,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[applied[first.name]],
                replace_with=[args.machines[first.name]] if holds_etcd else [],
                replacement_trigger=nodes[first.name].generation if is_lone else None,
            ),
        )
        self.ready = ClusterReadiness(
            f"{name}-readiness",
            ClusterReadinessArgs(
                nodes=args.nodes,
                generations={node: it.generation for node, it in nodes.items()},
                endpoint=self.endpoint,
                restored=args.restore is not None,
                credentials=pulumi.Output.secret(issued.apply(lambda it: vars(it[1].kubernetes))),
            ),
            pulumi.ResourceOptions(
                parent=self, depends_on=[*applied.values(), bootstrap], deleted_with=secrets
            ),
        )
        self.kubeconfig = pulumi.Output.secret(given.kubeconfig)
        self.internal_kubeconfig = pulumi.Output.secret(given.access)
        self.talosconfig = pulumi.Output.secret(
            talos.client.get_configuration_output(
                cluster_name=args.cluster_name,
                # Typed: an invoke does not turn an output's snake_case keys into camelCase.
                client_configuration=given.talos.apply(
                    lambda it: talos.client.GetConfigurationClientConfigurationArgs(**vars(it))
                ),
                endpoints=[str(node.address) for node in control_planes],
                nodes=[str(node.address) for node in args.nodes],
                opts=pulumi.InvokeOutputOptions(parent=self),
            ).talos_config
        )
        self._restore = args.restore
        self._stack_tag = args.context.cluster
        self.certificates = pulumi.Output.unsecret(given.ends)
        # A resource is registered by its id: the state then holds nothing of it a second time.
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
        """Create the Kubernetes provider, and return the options of what it deploys.

        Applications are ``deleted_with`` the machine secrets: taking the stack down asks nothing of
        a cluster that is going away, and the replacement of a VM does not reach them.
        """
        restore = self._restore
        provider = kubernetes.Provider(
            "kubernetes",
            kubeconfig=self.kubeconfig,
            # A renewed kubeconfig is no new cluster.
            cluster_identifier=self._stack_tag,
            # An `up` that was killed may have created objects that the state does not have.
            upsert_existing_objects=True,
            # In a restored cluster the field managers are those of the cluster before.
            enable_patch_force=True if restore else None,
            opts=pulumi.ResourceOptions(
                # The kubeconfig does not pass through `ready`: it would become unknown with every
                # new node, and everything in the cluster would preview as changed.
                depends_on=[self.ready],
                deleted_with=self.machine_secrets,
                # The setting is read once: it must not matter whether it stays in the stack file.
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
        """Return the options of the resource that follows all nodes and ``applications``."""
        return pulumi.ResourceOptions(
            provider=provider,
            depends_on=[self.ready, *applications],
            deleted_with=self.machine_secrets,
        )

    def _nodes(
        self,
        name: str,
        args: TalosClusterArgs,
        configurations: Mapping[Role, pulumi.Output[str]],
        patches: Mapping[str, Sequence[pulumi.Input[str]]],
        issued: pulumi.Output[Any],
    ) -> tuple[dict[str, NodeLifecycle], KubernetesVersion]:
        """What a running cluster goes through, in this order: machines that are lost are removed
        from it, then come a snapshot of etcd, the nodes one by one, control planes first, and the
        upgrade of Kubernetes. A node that is lost would hold up each of these."""
        context = args.context
        token = args.proxmox_token
        node_credentials: pulumi.Output[Mapping[str, str]] = issued.apply(
            lambda it: pulumi.Output.secret(
                {**vars(it[0]), "access": it[1].access, "proxmox_token": token}
            )
        )
        found: dict[str, NodeLifecycle] = {}

        def chain(nodes: Sequence[Node], before: Sequence[pulumi.Resource]) -> None:
            for node in nodes:
                found[node.name] = NodeLifecycle(
                    f"{name}-{node.name}",
                    NodeLifecycleArgs(
                        node=node,
                        has_come_up=args.running.machine_has_come_up(node.name),
                        datastore=args.datastore,
                        context=context,
                        installer=args.installer,
                        configuration=configurations[node.role],
                        patches=patches[node.name],
                        machine_state=_state_of(node, args),
                        credentials=node_credentials,
                    ),
                    # Not deleted_with its machine: a node that leaves is removed from the cluster,
                    # and a replaced machine must not start its generations again.
                    pulumi.ResourceOptions(
                        parent=self,
                        depends_on=[args.machines[node.name], *before],
                        deleted_with=self.machine_secrets,
                    ),
                )
                before = [found[node.name]]

        lost = [node for node in args.nodes if _is_lost(node, args)]
        chain(lost, [])
        snapshot = EtcdSnapshot(
            f"{name}-etcd-snapshot",
            cluster=context.cluster,
            talos=args.talos_version,
            kubernetes=args.kubernetes_version,
            installer=args.installer,
            control_planes=context.control_planes,
            age_recipient=context.age_recipient,
            return_s=context.return_s,
            has_come_up=args.running.has_come_up,
            credentials=self._client,
            after=list(found.values())[-1:],
            identity=self.machine_secrets,
            parent=self,
        )
        chain([node for node in args.nodes if node not in lost], [snapshot])
        upgraded = KubernetesVersion(
            f"{name}-kubernetes",
            cluster=context.cluster,
            talos=args.talos_version,
            kubernetes=args.kubernetes_version,
            control_planes=context.control_planes,
            return_s=context.return_s,
            has_come_up=args.running.has_come_up,
            credentials=self._client,
            after=[snapshot, *list(found.values())[-1:]],
            identity=self.machine_secrets,
            parent=self,
        )
        return found, upgraded

    def _configuration(
        self, role: Role, args: TalosClusterArgs, secrets: talos.machine.Secrets
    ) -> pulumi.Output[str]:
        """The machine config of a role, with its secrets."""
        patch = pulumi.Output.from_input(args.installer).apply(
            lambda installer: yaml.safe_dump(role_patch(installer, args.nodes))
        )
        configuration = talos.machine.get_configuration_output(
            cluster_name=args.cluster_name,
            cluster_endpoint=self.endpoint,
            machine_type="controlplane" if role is Role.CONTROL_PLANE else "worker",
            machine_secrets=secrets.machine_secrets.apply(_typed_secrets),
            talos_version=args.talos_version,
            kubernetes_version=args.kubernetes_version,
            config_patches=[patch],
            docs=False,
            examples=False,
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        return pulumi.Output.secret(configuration.machine_configuration)


_TIMEOUTS = talos.machine.TimeoutArgs(create="10m", update="10m", delete="10m")
"""Every field: with a part of them the bridge fails after the call (pulumi-talos#252)."""


def _issue(certs: Any, cluster_name: str, endpoint: str) -> tuple[Client, Given]:
    """Issue the stack's own credentials for Talos, and those that people are given."""
    from clients.talos import credentials

    return credentials.own(certs), credentials.given(certs, cluster_name, endpoint)


def _is_lost(node: Node, args: TalosClusterArgs) -> bool:
    """Whether the machine of a node that has come up is gone, or has lost its machine config."""
    return args.machine_states.get(node.name) in LOST and args.running.machine_has_come_up(
        node.name
    )


def _state_of(node: Node, args: TalosClusterArgs) -> pulumi.Output[MachineState]:
    """The state of a node's machine, once the engine has created or updated it in this run.

    Creating a machine changes ``args.machine_states`` (``survey.py``). In a preview of that the
    machine's id is unknown, and so is its state.
    """
    found: pulumi.Output[MachineState] = args.machines[node.name].id.apply(
        lambda _: args.machine_states.get(node.name, "")
    )
    return found


def _typed_secrets(secrets: Any) -> talos.machine.MachineSecretsArgs:
    """Machine secrets as the typed arguments that an invoke needs (facts/providers.md A3.1)."""

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
