"""Talos: secrets, upkeep, machine configs, bootstrap, the health gate, kubeconfig and talosconfig.

Leaves out everything that runs on Kubernetes, and how upkeep is done (``upkeep``). One
configuration is rendered for each role; what differs between nodes are patches of the node's own
``ConfigurationApply``, so that a node costs no invoke.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumiverse_talos as talos
import yaml

from components import credentials
from components.bootstrap import Bootstrap
from components.cluster_args import TalosClusterArgs
from components.config_rollout import ConfigRollout
from components.etcd_snapshot import EtcdSnapshot
from components.kubernetes_version import KubernetesVersion
from components.machine_config import node_patches, role_patch
from components.node_birth import NodeBirth
from components.node_life import NodeLife
from components.node_ready import NodeReady
from settings import Node, Role

__all__ = ["TalosCluster", "TalosClusterArgs"]


class TalosCluster(pulumi.ComponentResource):
    """A Talos cluster that answers: what it hands on is usable once ``ready`` exists."""

    kubeconfig: pulumi.Output[str]
    """Admin kubeconfig (secret). Wait for ``ready`` before using it."""
    access: pulumi.Output[str]
    """A kubeconfig (secret) that never ends before the cluster: for what the state keeps."""
    talosconfig: pulumi.Output[str]
    """Admin talosconfig (secret); its endpoints are the control planes, never the VIP."""
    endpoint: str
    """Address of the Kubernetes API: the VIP."""
    certificates: pulumi.Output[Mapping[str, str]]
    """When they end: ``kubeconfig``, ``talosconfig``, and the ``authorities`` that sign both."""
    identity: talos.machine.Secrets
    """What the cluster is: it goes only when the whole castle goes. All that lives in the cluster
    is ``deleted_with`` it, so that a dying cluster is never asked for permission."""
    ready: Sequence[NodeReady]
    """The health gate: one resource a node, there once the node is ready in Kubernetes."""

    def __init__(
        self, name: str, args: TalosClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:TalosCluster", name, None, opts)
        self.endpoint = f"https://{args.vip}:6443"
        self.identity = secrets = talos.machine.Secrets(
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
        self._client = pulumi.Output.secret(
            secrets.machine_secrets.apply(lambda it: credentials.own(it.certs))
        )
        given = secrets.machine_secrets.apply(
            lambda it: credentials.given(it.certs, args.cluster_name, self.endpoint)
        )
        configurations = {
            role: self._configuration(role, args, secrets)
            for role in dict.fromkeys(node.role for node in args.nodes)
        }
        births = {
            node.name: NodeBirth(
                f"{name}-{node.name}-birth",
                node=node,
                upkeep=args.upkeep,
                seen=args.seen.get(node.name, ""),
                machine=args.machines[node.name],
                credentials=self._client,
                access=given.access,
                parent=self,
            )
            for node in args.nodes
        }
        changed: pulumi.Resource = self._upkeep(name, args, secrets)
        applied = {}
        for node in args.nodes:
            configuration, patches = configurations[node.role], node_patches(node, args)
            birth, machine = births[node.name], args.machines[node.name]
            changed = ConfigRollout(
                f"{name}-{node.name}-rollout",
                node=node,
                upkeep=args.upkeep,
                configuration=configuration,
                patches=patches,
                credentials=self._client,
                opts=_of_birth(self, birth, machine, [changed]),
            )
            applied[node.name] = self._apply(
                f"{name}-{node.name}-config",
                node,
                configuration,
                patches,
                _of_birth(self, birth, machine, [changed]),
            )
        control_planes = [node for node in args.nodes if node.role is Role.CONTROL_PLANE]
        first = control_planes[0]
        # A lone control plane takes etcd with it, and so does the first one of a cluster that has
        # never come up; any other joins the etcd of the rest.
        holds_etcd = len(control_planes) == 1 or not args.running.has_come_up
        bootstrap = Bootstrap(
            f"{name}-bootstrap",
            node=str(first.address),
            credentials=self._client,
            restore=args.restore,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[applied[first.name]],
                replace_with=[args.machines[first.name]] if holds_etcd else [],
                replacement_trigger=None if len(control_planes) > 1 else births[first.name].births,
            ),
        )
        self.ready = [
            NodeReady(
                f"{name}-{node.name}-ready",
                node=node.name,
                address=str(node.address),
                control_plane=node.role is Role.CONTROL_PLANE,
                endpoint=self.endpoint,
                restored=args.restore is not None,
                credentials=given.kubernetes,
                opts=_of_birth(
                    self,
                    births[node.name],
                    args.machines[node.name],
                    [applied[node.name], bootstrap],
                ),
            )
            for node in args.nodes
        ]
        self.kubeconfig = pulumi.Output.secret(given.kubeconfig)
        self.access = pulumi.Output.secret(given.access)
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
        self.certificates = pulumi.Output.unsecret(given.ends)
        self.register_outputs({"endpoint": self.endpoint})

    def gate(self) -> pulumi.ResourceOptions:
        """Options of the Kubernetes provider: nothing uses it before every node is ready.

        It waits for ``ready`` and takes the kubeconfig beside it: through the gate the kubeconfig
        would go unknown with every new node, and all behind it would preview as changed.
        """
        return pulumi.ResourceOptions(
            depends_on=self.ready,
            deleted_with=self.identity,
            # Of its birth: it must not matter whether a restored castle keeps the setting.
            ignore_changes=["enablePatchForce"],
        )

    @property
    def takes_over(self) -> Mapping[str, bool]:
        """What the Kubernetes provider does with an object that it did not make.

        It takes it up; and in a restored cluster, whose objects bear the marks of the old castle's
        engine, it does so too where they differ from what is asked for now.
        """
        restored = {"enable_patch_force": True} if self._restore else {}
        return {"upsert_existing_objects": True, **restored}

    def inside(self, *providers: pulumi.ProviderResource) -> pulumi.ResourceOptions:
        """Options of what lives in the cluster, and is made by these providers.

        It is deleted with the cluster's identity: taking the castle down asks nothing of a
        cluster that dies, and no machine's replacement reaches it.
        """
        restore = self._restore
        return pulumi.ResourceOptions(
            providers=list(providers),
            deleted_with=self.identity,
            transformations=[restore.over_old_releases(self.kubeconfig)] if restore else None,
        )

    def after(
        self, applications: Sequence[pulumi.Resource], provider: pulumi.ProviderResource
    ) -> pulumi.ResourceOptions:
        """Options of what is registered once every node and all ``applications`` are deployed."""
        return pulumi.ResourceOptions(
            provider=provider,
            depends_on=[*self.ready, *applications],
            deleted_with=self.identity,
        )

    def _upkeep(
        self, name: str, args: TalosClusterArgs, secrets: talos.machine.Secrets
    ) -> KubernetesVersion:
        """What a living cluster goes through, in this order: a snapshot of etcd, the nodes one
        by one, control planes first, and Kubernetes. The configs come after it."""
        upkeep, client = args.upkeep, self._client
        before: pulumi.Resource = EtcdSnapshot(
            f"{name}-etcd-snapshot",
            cluster=upkeep.cluster,
            talos=args.talos_version,
            kubernetes=args.kubernetes_version,
            installer=args.installer,
            control_planes=upkeep.control_planes,
            age_recipient=upkeep.age_recipient,
            return_s=upkeep.return_s,
            has_come_up=args.running.has_come_up,
            credentials=client,
            identity=secrets,
            parent=self,
        )
        for node in args.nodes:
            before = NodeLife(
                f"{name}-{node.name}-life",
                node=node,
                upkeep=upkeep,
                datastore=args.datastore,
                installer=args.installer,
                has_come_up=args.running.machine_has_come_up(node.name),
                credentials=client,
                after=[args.machines[node.name], before],
                identity=secrets,
                parent=self,
            )
        return KubernetesVersion(
            f"{name}-kubernetes",
            cluster=upkeep.cluster,
            talos=args.talos_version,
            kubernetes=args.kubernetes_version,
            control_planes=upkeep.control_planes,
            return_s=upkeep.return_s,
            has_come_up=args.running.has_come_up,
            credentials=client,
            after=[before],
            identity=secrets,
            parent=self,
        )

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

    def _apply(
        self,
        name: str,
        node: Node,
        configuration: pulumi.Output[str],
        patches: Sequence[pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
    ) -> talos.machine.ConfigurationApply:
        """Send a node its config.

        Never with a reboot: all nodes get theirs at once. What needs one has been rolled out.
        """
        return talos.machine.ConfigurationApply(
            name,
            node=str(node.address),
            endpoint=str(node.address),
            client_configuration=self._client.apply(
                lambda it: talos.machine.ClientConfigurationArgs(**vars(it))
            ),
            machine_configuration_input=configuration,
            config_patches=patches,
            apply_mode="no_reboot",
            # Every field: a part of them makes the bridge fail after the call (pulumi-talos#252).
            timeouts=talos.machine.TimeoutArgs(create="10m", update="10m", delete="10m"),
            opts=opts,
        )


def _of_birth(
    parent: pulumi.Resource,
    birth: NodeBirth,
    machine: pulumi.Resource,
    after: Sequence[pulumi.Resource],
) -> pulumi.ResourceOptions:
    """Options of what a node is given once: made anew for each birth, it goes with the machine."""
    return pulumi.ResourceOptions(
        parent=parent,
        depends_on=[machine, birth, *after],
        deleted_with=machine,
        replacement_trigger=birth.births,
        replace_with=[machine],
    )


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
