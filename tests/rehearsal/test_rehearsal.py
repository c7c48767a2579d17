"""Complete runs of the real program without Pulumi engine, hardware and network."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import settings as runtime

from components.flux import Flux
from components.image import TalosImage
from components.longhorn import Longhorn
from components.machines import Machines
from components.metallb import MetalLB
from components.talos.cluster import TalosCluster
from components.traefik.traefik import Traefik
from components.whoami import Whoami
from rehearsal import answers, run
from rehearsal.monitor import STACK, RecordingMonitor
from rehearsal.record import Recording, Refusal, Resource
from rehearsal.run import Rehearsal, rehearse
from rehearsal.show import as_json
from rehearsal.values import MASK, Secret, decode_struct, encode, mask, reveal
from settings import resource_types, stack_file
from settings.node import Role
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER
from tests.recorder import one
from tests.rehearsal.conftest import Vary
from tests.rehearsals import (
    STACKS,
    VARIANTS,
    rehearsed_stack,
    rehearsed_variant,
)

# Stacks and variants ------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_file_of_the_repository_has_no_problems(stack: str) -> None:
    assert rehearsed_stack(stack).problems == []


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_every_node_and_no_problems(name: str) -> None:
    found = rehearsed_variant(name)
    assert found.problems == []
    machines = len(found.settings.machines)
    for type_ in (resource_types.MACHINE, resource_types.APPLY, resource_types.NODE):
        assert len(list(found.recording.of_type(type_))) == machines
    (readiness,) = found.recording.of_type(resource_types.READY)
    assert len(readiness.plain("nodes")) == machines


COMPONENTS: dict[str, type[pulumi.ComponentResource]] = {
    "image": TalosImage,
    "machines": Machines,
    "cluster": TalosCluster,
    "longhorn": Longhorn,
    "metallb": MetalLB,
    "traefik": Traefik,
    "whoami": Whoami,
    "flux": Flux,
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_registers_every_output_that_it_documents(gitops: Rehearsal, name: str) -> None:
    documented = set(COMPONENTS[name].__annotations__)
    assert documented
    outputs = one(gitops.recording, name).outputs
    assert outputs.keys() == documented
    # An output that is not plain data, such as a resource, is not readable in the state.
    json.dumps(reveal(dict(outputs)))
    assert "special" not in str(reveal(dict(outputs)))


def test_the_test_above_covers_every_component(gitops: Rehearsal) -> None:
    assert [it.name for it in gitops.recording.resources if not it.custom] == [*COMPONENTS]


def test_component_outputs_name_resources_by_their_ids(gitops: Rehearsal) -> None:
    machines, cluster = (one(gitops.recording, name).outputs for name in ("machines", "cluster"))
    assert machines["vms"] == {
        it.plain("name"): it.id for it in gitops.recording.of_type(resource_types.MACHINE)
    }
    assert cluster["machine_secrets"] == one(gitops.recording, "cluster-secrets").id
    assert cluster["ready"] == one(gitops.recording, "cluster-readiness").id


def test_secret_outputs_of_components_are_secrets(gitops: Rehearsal) -> None:
    cluster = one(gitops.recording, "cluster").outputs
    hidden = {name for name, value in cluster.items() if isinstance(value, Secret)}
    assert hidden == {"kubeconfig", "internal_kubeconfig", "talosconfig"}


def test_the_backup_job_covers_every_volume_and_depends_on_longhorn(vary: Vary) -> None:
    recording = vary({"longhorn.backup": {"target": "nfs://192.168.1.5:/b", "retain": 3}}).recording
    (job,) = recording.of_type("kubernetes:longhorn.io/v1beta2:RecurringJob")
    (release,) = (
        r for r in recording.of_type(resource_types.RELEASE) if r.plain("name") == "longhorn"
    )
    store = release.plain("values")["defaultBackupStore"]
    assert store == {"backupTarget": "nfs://192.168.1.5:/b", "backupTargetCredentialSecret": ""}
    assert job.plain("metadata")["namespace"] == release.plain("namespace")
    assert release.urn in recording.before(job)
    spec = job.plain("spec")
    assert (spec["task"], spec["groups"]) == ("backup", ["default"])
    assert (spec["cron"], spec["retain"]) == ("0 3 * * *", 3)


def test_longhorn_depends_on_the_secret_of_its_bucket() -> None:
    recording = rehearsed_variant("backups in a bucket").recording
    (secret,) = (
        r
        for r in recording.of_type("kubernetes:core/v1:Secret")
        if r.plain("metadata")["namespace"] == "longhorn-system"
    )
    (release,) = (
        r for r in recording.of_type(resource_types.RELEASE) if r.plain("name") == "longhorn"
    )
    assert release.plain("values")["defaultBackupStore"] == {
        "backupTarget": "s3://castle@home/volumes",
        "backupTargetCredentialSecret": secret.plain("metadata")["name"],
    }
    assert secret.urn in recording.before(release)
    assert secret.is_secret("data")
    values = {key: base64.b64decode(text) for key, text in secret.plain("data").items()}
    assert values["AWS_ENDPOINTS"] == b"https://192.168.1.5:9000"
    assert values["AWS_ACCESS_KEY_ID"] == b"castle"
    assert set(values) == {
        "AWS_ENDPOINTS",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_CERT",
    }
    # Longhorn rejects a Secret with spaces around a value (longhorn/longhorn#7159).
    assert {key: text for key, text in values.items() if text != text.strip()} == {}


def test_there_is_no_backup_job_by_default(homelab: Rehearsal) -> None:
    assert not list(homelab.recording.of_type("kubernetes:longhorn.io/v1beta2:RecurringJob"))


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_first_preview_of_a_variant_has_no_problems(changes: dict[str, Any], vary: Vary) -> None:
    assert vary(changes, preview=True).problems == []


@pytest.mark.parametrize("stack", STACKS)
def test_a_first_preview_has_the_resources_of_an_up(stack: str) -> None:
    preview, up = rehearse(stack, preview=True), rehearsed_stack(stack)
    assert preview.problems == []
    assert {r.urn for r in preview.recording.resources} == {r.urn for r in up.recording.resources}


def test_a_rehearsal_decrypts_no_sops_file(
    vary: Vary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Pulumi.homelab.sops.yaml").write_text(
        "ephemeral-castle:flux: {token: 'ENC[AES256_GCM,data:x]'}\nsops: {}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    found = vary({"flux": {"url": "https://github.com/me/manifests.git"}})
    assert found.problems == []
    assert found.settings.flux and found.settings.flux.token


def test_wrong_settings_are_refused(vary: Vary) -> None:
    with pytest.raises(SettingsError, match=r"nodes\.workers\.count = 251"):
        vary({"nodes.workers.count": 251})


def test_warnings_of_the_program_are_notes(vary: Vary) -> None:
    hosts = {"proxmox.hosts": ["pve1", "pve2"]}
    (note,) = vary({"traefik.acme.email": "me@example.org"} | hosts).notes
    assert note.startswith("traefik.acme.email me@example.org is an example address")
    assert vary({"traefik.acme.email": "me@tazlab.net"} | hosts).notes == []


# Resources of the program -------------------------------------------------------------------------


def test_vms_have_the_host_and_the_size_of_the_settings() -> None:
    found = rehearsed_variant("several hosts with overrides")
    vms = {vm.plain("name"): vm for vm in found.recording.of_type(resource_types.MACHINE)}
    assert vms.keys() == {node.name for node in found.settings.machines}
    for node in found.settings.machines:
        vm = vms[node.name]
        assert vm.plain("nodeName") == node.host
        assert vm.plain("vmId") == node.vm_id
        assert vm.plain("cpu")["cores"] == node.cores
        assert vm.plain("memory")["dedicated"] == node.memory_mib
        sizes = [disk["size"] for disk in vm.plain("disks")]
        assert sizes == [size for size in (node.os_disk_gib, node.data_disk_gib) if size]
    hosts = {node.host for node in found.settings.machines if node.role is Role.CONTROL_PLANE}
    assert hosts == {"pve1", "pve2", "pve3"}


def test_every_host_with_a_vm_has_the_image() -> None:
    files = rehearsed_variant("several hosts with overrides").recording.of_type(resource_types.FILE)
    assert {file.plain("nodeName") for file in files} == {"pve1", "pve2", "pve3", "pve4"}


@pytest.mark.parametrize("stack", STACKS)
def test_every_kubernetes_object_depends_on_the_readiness_of_all_nodes(stack: str) -> None:
    recording = rehearsed_stack(stack).recording
    before = {
        r.urn
        for r in recording.of_type(
            resource_types.READY, resource_types.BOOTSTRAP, resource_types.APPLY
        )
    }
    objects = [resource for resource in recording.resources if resource.in_kubernetes]
    assert len(objects) >= 10
    for resource in objects:
        assert before <= recording.before(resource), resource.name


def test_one_more_worker_adds_three_resources_and_changes_no_other(vary: Vary) -> None:
    three, four = _by_urn(vary({})), _by_urn(vary({"nodes.workers.count": 4}))
    assert three.keys() <= four.keys()
    assert {(four[urn]["type"], four[urn]["name"]) for urn in four.keys() - three.keys()} == {
        (resource_types.MACHINE, "machines-castle-worker-4"),
        (resource_types.NODE, "cluster-castle-worker-4"),
        (resource_types.APPLY, "cluster-castle-worker-4-config"),
    }
    for urn, resource in three.items():
        if resource["type"] in (resource_types.READY, resource_types.RECORD):
            continue  # they contain the new node
        if resource["type"] == resource_types.STORAGE:
            resource["inputs"]["data_disks"]["castle-worker-4"] = 43
        for key in ("inputs", "parent", "provider", "deletedWith", "ignoreChanges"):
            assert resource[key] == four[urn][key], (urn, key)
        gained = set(four[urn]["dependencies"]) - set(resource["dependencies"])
        assert all(it.endswith("::cluster-castle-worker-4") for it in gained)


def test_one_more_worker_changes_no_secret_input(vary: Vary) -> None:
    """The JSON output masks secrets, so this test compares the machine configs."""
    three = {
        r.urn: reveal(dict(r.inputs))
        for r in vary({}).recording.resources
        if r.type != resource_types.STORAGE  # it contains every node's disks
    }
    four = {
        r.urn: reveal(dict(r.inputs))
        for r in vary({"nodes.workers.count": 4}).recording.resources
        if r.urn in three
    }
    changed = {urn.rpartition("::")[2] for urn in three if three[urn] != four[urn]}
    assert changed == {"cluster-readiness", "record"}


def test_two_rehearsals_have_the_same_result() -> None:
    first, second = (json.dumps(_unordered(rehearse("ha")), sort_keys=True) for _ in range(2))
    assert first == second


def test_a_rehearsal_does_not_depend_on_the_one_before(homelab: Rehearsal) -> None:
    rehearse("ha")
    again = rehearse("homelab")
    assert _unordered(again) == _unordered(homelab)
    assert again.notes == homelab.notes


def test_two_stacks_share_no_name_id_or_address() -> None:
    one, other = rehearsed_stack("homelab").recording, rehearsed_stack("ha").recording
    for path in ("vmId", "name", "poolId", "tags"):
        owned = [
            {str(m.plain(path)) for m in c.of_type(resource_types.MACHINE)} for c in (one, other)
        ]
        assert not owned[0] & owned[1], path


def _by_urn(found: Rehearsal) -> dict[str, dict[str, Any]]:
    return {resource["urn"]: resource for resource in as_json(found)["resources"]}


def _unordered(found: Rehearsal) -> dict[str, Any]:
    """Return the JSON output without the order of registration, which is random."""
    report = as_json(found)
    report["resources"] = {resource["urn"]: resource for resource in report["resources"]}
    return {key: sorted(report[key]) if key in ("up", "down") else report[key] for key in report}


# No network ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("preview", [False, True], ids=["up", "preview"])
def test_a_rehearsal_opens_no_connection(preview: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[Any] = []

    def record(*args: Any, **kwargs: Any) -> None:
        attempts.append(args)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", record)
    monkeypatch.setattr(socket.socket, "connect_ex", record)
    monkeypatch.setattr(socket, "getaddrinfo", record)
    # The rehearsal's own guard would refuse a connection before the recorder sees it.
    monkeypatch.setattr("rehearsal.run.offline", contextlib.nullcontext)
    assert rehearse("homelab", preview=preview).problems == []
    assert attempts == []


@pytest.mark.parametrize(
    "attempt",
    [
        lambda tcp, _: tcp.connect(("127.0.0.1", 9)),
        lambda tcp, _: tcp.connect_ex(("127.0.0.1", 9)),
        lambda _, udp: udp.sendto(b"", ("127.0.0.1", 9)),
        lambda _, udp: udp.sendmsg([b""], [], 0, ("127.0.0.1", 9)),
        lambda *_: socket.getaddrinfo("127.0.0.1", 9),
    ],
    ids=["connect", "connect_ex", "sendto", "sendmsg", "getaddrinfo"],
)
def test_a_connection_is_refused(
    attempt: Callable[[socket.socket, socket.socket], object],
) -> None:
    def body() -> None:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            attempt(tcp, udp)

    file = stack_file.read("homelab", PROJECT_FOLDER)
    with pytest.raises(run.ConnectionRefused, match="opens no connection"):
        run.perform(body, RecordingMonitor("project", "stack"), file)


def test_connections_are_allowed_after_a_rehearsal() -> None:
    rehearse("homelab")
    with socket.create_server(("127.0.0.1", 0)) as server:
        with run.offline(), run.offline(), pytest.raises(run.ConnectionRefused):
            socket.create_connection(server.getsockname())
        socket.create_connection(server.getsockname()).close()


# Secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_the_json_output_has_no_secret(stack: str) -> None:
    found = rehearsed_stack(stack)
    secrets = _secrets_of(found.recording)
    assert stack_file.PLACEHOLDER_TOKEN in secrets
    text = json.dumps(as_json(found))
    for secret in secrets:
        assert json.dumps(secret)[1:-1] not in text
    assert base64.b64encode(b"rehearsal ").decode()[:12] not in text
    assert stack_file.PLACEHOLDER_TOKEN.rpartition("=")[2] not in text
    assert MASK in text


def test_the_json_output_has_no_token_that_is_in_plain_text(vary: Vary) -> None:
    found = vary({"proxmoxve:apiToken": "castle@pve!pulumi=5eed1e55"})
    assert found.problems == []
    assert "5eed1e55" not in json.dumps(as_json(found))
    assert "5eed1e55" not in str(found.notes)
    assert [note for note in found.notes if note.startswith("proxmoxve:apiToken is in ")]


def _secrets_of(recording: Recording) -> set[str]:
    """Return every text inside a secret of the inputs and outputs."""
    found: set[str] = set()

    def collect(value: Any, inside: bool = False) -> None:
        if isinstance(value, Secret):
            collect(value.value, True)
        elif isinstance(value, dict):
            for item in value.values():
                collect(item, inside)
        elif isinstance(value, list | tuple):
            for item in value:
                collect(item, inside)
        elif inside and isinstance(value, str) and len(value) > 8:
            found.add(value)

    for resource in recording.resources:
        collect([resource.inputs, resource.outputs])
    collect(recording.outputs)
    return found


# The JSON output ----------------------------------------------------------------------------------


def test_the_json_output_has_the_documented_keys(homelab: Rehearsal) -> None:
    report = as_json(homelab)
    assert report.keys() >= {
        "stack",
        "resources",
        "up",
        "down",
        "criticalPath",
        "addresses",
        "outputs",
        "notes",
        "problems",
    }
    for resource in report["resources"]:
        assert resource.keys() >= {
            "urn",
            "type",
            "name",
            "parent",
            "provider",
            "dependencies",
            "propertyDependencies",
            "deletedWith",
            "ignoreChanges",
            "inputs",
            "start",
            "end",
        }


def test_the_json_output_is_serializable(homelab: Rehearsal) -> None:
    assert json.loads(json.dumps(as_json(homelab))) == as_json(homelab)


def test_all_urns_in_the_json_output_are_of_its_resources(homelab: Rehearsal) -> None:
    report = as_json(homelab)
    urns = [resource["urn"] for resource in report["resources"]]
    assert sorted(report["up"]) == sorted(urns)
    assert report["down"] == report["up"][::-1]
    assert set(report["criticalPath"]) <= set(urns)
    named = {
        urn
        for resource in report["resources"]
        for urn in [*resource["dependencies"], resource["provider"], resource["deletedWith"]]
        if urn is not None
    }
    assert named <= set(urns)


def test_problems_are_reported_with_resource_and_message(homelab: Rehearsal) -> None:
    broken = deepcopy(homelab)
    broken.problems.append(Refusal("vm", "is rejected"))
    assert as_json(broken)["problems"] == [{"resource": "vm", "message": "is rejected"}]


def test_the_address_plan_is_sorted_and_names_every_owner(homelab: Rehearsal) -> None:
    assert [(entry["address"], entry["owner"]) for entry in as_json(homelab)["addresses"]] == [
        ("192.168.1.1", "gateway"),
        ("192.168.1.2-192.168.1.120", "router's DHCP range"),
        ("192.168.1.155", "castle-worker-1"),
        ("192.168.1.156", "castle-worker-2"),
        ("192.168.1.157", "castle-worker-3"),
        ("192.168.1.240", "ingress, 80 and 443"),
        ("192.168.1.240-192.168.1.245", "MetalLB pool"),
        ("192.168.1.250", "VIP, Kubernetes API"),
        ("192.168.1.253", "castle-control-plane-1"),
    ]


def test_the_outputs_name_the_site_and_the_endpoints(homelab: Rehearsal) -> None:
    outputs = as_json(homelab)["outputs"]
    assert outputs["url"] == "https://tazlab.net"
    assert outputs["ingress_address"] == "192.168.1.240"
    assert outputs["api_endpoint"] == "https://192.168.1.250:6443"
    assert outputs["kubeconfig"] == outputs["talosconfig"] == MASK
    assert outputs["nodes"]["castle-worker-3"] == {
        "role": "worker",
        "address": "192.168.1.157",
        "vm_id": 8012,
        "host": "pve",
    }


# The mock monitor ---------------------------------------------------------------------------------


def test_a_resource_type_without_an_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(answers._RESOURCES, resource_types.SCHEMATIC)
    problems = rehearse("homelab").problems
    assert any(resource_types.SCHEMATIC in problem.message for problem in problems)


def test_urns_have_the_form_of_the_engine() -> None:
    monitor = RecordingMonitor("project", "stack")
    root = monitor.make_urn("", STACK, "project-stack")
    component = monitor.make_urn(root, "a:b:C", "one")
    assert component == "urn:pulumi:stack::project::a:b:C::one"
    child = monitor.make_urn(component, "d:e:F", "two")
    assert child == "urn:pulumi:stack::project::a:b:C$d:e:F::two"
    assert monitor.make_urn(child, "g:h:I", "x").split("::")[2] == "a:b:C$d:e:F$g:h:I"


def test_a_value_survives_encoding_and_decoding() -> None:
    value = {
        "text": "x",
        "whole": 3,
        "half": 0.5,
        "yes": True,
        "nothing": None,
        "list": [1, {"deep": Secret("key")}],
        "secret": Secret({"inner": Secret(["a"])}),
    }
    assert decode_struct(encode(value)) == value


def test_a_secret_is_never_printed() -> None:
    assert "open sesame" not in f"{Secret('open sesame')} {Secret({'key': 'open sesame'})!r}"


def test_nested_secrets_are_masked_and_can_be_revealed() -> None:
    value = {"a": [Secret({"b": Secret("c")})], "d": "e"}
    assert mask(value) == {"a": [MASK], "d": "e"}
    assert reveal(value) == {"a": [{"b": "c"}], "d": "e"}


def test_indirect_dependencies_are_found() -> None:
    chain = [
        Resource(urn=urn, type="t", name=urn, dependencies=before, provider=provider)
        for urn, before, provider in (
            ("provider", (), None),
            ("first", (), "provider"),
            ("second", ("first",), None),
            ("third", ("second", "gone"), None),
        )
    ]
    assert Recording(resources=chain).before(chain[-1]) == {"second", "first", "provider"}


def test_a_stack_file_may_be_in_another_folder(tmp_path: Path) -> None:
    text = (PROJECT_FOLDER / "Pulumi.ha.yaml").read_text(encoding="utf-8")
    (tmp_path / "Pulumi.other.yaml").write_text(text, encoding="utf-8")
    found = rehearse("other", tmp_path)
    assert found.stack == "other"
    assert found.settings.stack_tag == "ephemeral-castle-other"


def test_an_id_is_unknown_in_a_preview() -> None:
    (file,) = rehearse("homelab", preview=True).recording.of_type(resource_types.FILE)
    assert "nocloud-amd64" not in str(file.inputs["url"])


def test_a_function_without_an_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(token: str, args: object) -> dict[str, Any]:
        raise answers.Unanswered(f"unknown {token}")

    monkeypatch.setattr(answers, "invoke", unknown)
    problems = rehearse("homelab").problems
    assert any("talos:machine/getConfiguration" in problem.message for problem in problems)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: socket.getaddrinfo("localhost", 443),
        lambda: _send(),
    ],
    ids=["lookup", "datagram"],
)
def test_a_lookup_and_a_datagram_are_refused(attempt: Callable[[], object]) -> None:
    def body() -> None:
        attempt()

    with pytest.raises(run.ConnectionRefused):
        run.perform(
            body, RecordingMonitor("project", "stack"), stack_file.read("homelab", PROJECT_FOLDER)
        )


def _send() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", ("127.0.0.1", 9))


def test_a_rehearsal_restores_the_engine() -> None:
    before = runtime.SETTINGS.engine
    rehearse("homelab")
    assert runtime.SETTINGS.engine is before


LOGIN = {"apiVersion": "v1alpha1", "kind": "RegistryAuthConfig", "name": "ghcr.io"}


def test_a_patch_with_a_secret_is_a_secret(vary: Vary) -> None:
    hidden = LOGIN | {"password": {"secure": "v1:abc"}}
    recording = vary({"nodes.overrides": {"worker-1": {"patches": [hidden]}}}).recording
    for name in ("cluster-castle-worker-1-config", "cluster-castle-worker-1"):
        resource = next(it for it in recording.resources if it.name == name)
        patches = resource.inputs.get("configPatches") or resource.inputs["patches"]
        assert all(isinstance(patch, Secret) for patch in patches)
        assert "password: rehearsal" in str(reveal(patches[-1]))


def test_a_patch_without_a_secret_is_plain(vary: Vary) -> None:
    recording = vary({"nodes.workers.patches": [LOGIN]}).recording
    (apply,) = (it for it in recording.resources if it.name == "cluster-castle-worker-1-config")
    assert "RegistryAuthConfig" in apply.inputs["configPatches"][-1]


def test_an_encrypted_number_is_refused(vary: Vary) -> None:
    with pytest.raises(SettingsError, match="nodes.workers.count = encrypted"):
        vary({"nodes.workers.count": {"secure": "v1:abc"}})
