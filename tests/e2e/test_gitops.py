"""Flux on a simulated rack: a push is applied, and whatever becomes of Flux, its removal ends."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml

from clients.kubernetes.api import ClusterApi
from settings.project import PROJECT_FOLDER
from tests.e2e.conftest import MakeLab
from tests.e2e.git_server import GitRepository, served, served_over_ssh
from tests.e2e.lab import CHARTS, Lab, missing
from tests.e2e.rack.kubernetes.flux import ANNOTATION, DISTRIBUTION, STUCK
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up

EXAMPLE = PROJECT_FOLDER / "examples" / "manifests"
TOKEN = "gitea-5eed1e55cafe4bad8bad"
SYNC = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/flux-system"
HELLO = "/api/v1/namespaces/hello"
PATIENCE = 120
"""Seconds: Flux looks at a repository each minute."""


def missing_for_flux() -> str:
    """What is not there, in one line; empty where everything is."""
    absent = [name for name in ("git", "ssh", "sops") if shutil.which(name) is None]
    absent += [
        f"{folder.name} in CASTLE_CHARTS"
        for folder in (CHARTS / "flux-operator", DISTRIBUTION)
        if not folder.is_dir()
    ]
    return missing() or (f"not found: {', '.join(absent)}" if absent else "")


pytestmark = pytest.mark.skipif(bool(missing_for_flux()), reason=missing_for_flux())


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[GitRepository]:
    """The example of a manifests' repository, pushed and served."""
    with served(pushed(tmp_path)) as found:
        yield found


def pushed(folder: Path) -> GitRepository:
    """The example of a manifests' repository."""
    found = GitRepository(folder, TOKEN)
    shutil.copytree(EXAMPLE, found.tree, dirs_exist_ok=True)
    found.push("The example")
    return found


def example_key() -> str:
    """The secret key of the example."""
    return (EXAMPLE / "example.agekey").read_text(encoding="utf-8").splitlines()[-1]


def follow(lab: Lab, repository: GitRepository) -> None:
    """Write Flux into the stack file, but for its secrets."""
    lab.set("flux.url", repository.url)
    lab.set("flux.path", "./apps")
    for setting in ("certificate", "known_hosts"):
        if value := getattr(repository, setting):
            lab.set(f"flux.{setting}", value)
    lab.set("flux.chart_repository", str(CHARTS))


def hide(lab: Lab, key: str, secret: str) -> None:
    """Put a secret into the stack file as a person would: typed into the CLI."""
    done = subprocess.run(
        ["pulumi", "config", "set", "--secret", "--path", key, "--stack", lab.stack],
        cwd=lab.program,
        env=lab.environment,
        input=secret,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read_back(lab)


def read_back(lab: Lab) -> None:
    """Take over what the CLI wrote into the stack file."""
    file = lab.program / f"Pulumi.{lab.stack}.yaml"
    lab.config = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]


def encrypt(repository: GitRepository, recipient: str, value: str) -> None:
    """Write the example's secret anew, for another key, with the real sops."""
    file = repository.tree / "apps" / "hello" / "secret.sops.yaml"
    secret = yaml.safe_load(file.read_text(encoding="utf-8"))
    del secret["sops"]
    secret["stringData"] = {"name": value}
    file.write_text(yaml.safe_dump(secret), encoding="utf-8")
    rules = repository.tree / ".sops.yaml"
    theirs = yaml.safe_load(rules.read_text(encoding="utf-8"))["creation_rules"][0]["age"]
    rules.write_text(rules.read_text(encoding="utf-8").replace(theirs, recipient))
    subprocess.run(["sops", "encrypt", "--in-place", file], cwd=repository.tree, check=True)


def keep_encrypted(lab: Lab, recipient: str, settings: dict[str, Any]) -> None:
    """Write settings beside the stack file as SOPS keeps them."""
    kinds = ("--input-type", "yaml", "--output-type", "yaml")
    done = subprocess.run(
        ["sops", "encrypt", "--age", recipient, *kinds, "/dev/stdin"],
        input=yaml.safe_dump(settings),
        capture_output=True,
        text=True,
        check=True,
    )
    (lab.program / f"Pulumi.{lab.stack}.sops.yaml").write_text(done.stdout, encoding="utf-8")


def kubernetes(lab: Lab) -> ClusterApi:
    """The cluster's API, as its administrator."""
    return ClusterApi.of(lab.kubeconfig())


def until(condition: Callable[[], Any]) -> Any:
    """Wait until something is there, and return it."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.5)  # another program has no event for us
    return found


def applied(api: ClusterApi, commit: str) -> Callable[[], bool]:
    """Make the condition that Flux has applied a commit."""

    def condition() -> bool:
        status = (api.get(SYNC) or {}).get("status", {})
        return bool(status.get("lastAppliedRevision") == f"main@sha1:{commit}")

    return condition


def test_a_push_is_applied_and_no_secret_is_in_the_open(
    make_lab: MakeLab, repository: GitRepository
) -> None:
    lab = make_lab("pve1")
    follow(lab, repository)
    made = lab.make("age-key")
    assert made.code == 0, made.output
    read_back(lab)
    recipient = made.output.split()[-1]
    assert recipient.startswith("age1") and "AGE-SECRET-KEY" not in made.output
    assert lab.make("age-key").output.split()[-1] == recipient
    tokens = {
        "proxmoxve:apiToken": lab.endpoints["api_token"],
        "ephemeral-castle:flux": {"token": TOKEN},
    }
    keep_encrypted(lab, recipient, tokens)
    looked = lab.doctor()
    assert looked.code == 0, looked.output
    encrypt(repository, recipient, "first")
    first = repository.push("For this stack's key")

    assert_up(lab)
    api = kubernetes(lab)
    until(applied(api, first))
    secret = api.get(f"{HELLO}/secrets/hello")
    assert secret and base64.b64decode(secret["data"]["name"]) == b"first"
    assert api.get("/apis/apps/v1/namespaces/hello/deployments/hello")

    encrypt(repository, recipient, "second")
    (repository.tree / "apps" / "hello" / "deployment.yaml").unlink()
    second = repository.push("Another value, and no deployment")
    until(applied(api, second))
    secret = api.get(f"{HELLO}/secrets/hello")
    assert secret and base64.b64decode(secret["data"]["name"]) == b"second"
    assert api.get("/apis/apps/v1/namespaces/hello/deployments/hello") is None

    assert_no_diff(lab)
    again = lab.up()
    assert again.code == 0 and not again.changes
    health = json.loads(
        lab.pulumi("stack", "output", "flux", "--json", "--stack", lab.stack).output
    )
    assert health["controllers"].startswith("ready: ")
    assert second in health["source"] and second in health["applied"]
    assert_no_secret_in_the_open(lab)
    assert_a_preview_says_what_flux_deletes(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def assert_a_preview_says_what_flux_deletes(lab: Lab) -> None:
    lab.set("flux.path", "./elsewhere")
    planned = lab.preview()
    assert planned.steps == [("update", "flux-kustomization"), ("update", "flux-source-ready")]
    shown = json.loads(planned.output[planned.output.index("{\n") :])
    told = " ".join(it["message"] for it in shown["diagnostics"])
    assert "→ ./elsewhere. Flux deletes everything that it applied" in told
    assert "their volumes and data stay in Longhorn, released" in told


def assert_no_secret_in_the_open(lab: Lab) -> None:
    """Neither the token nor the age key stands in the state, in outputs, or in any file."""
    key = lab.opened("config", "get", "--path", "sops.age_key").strip()
    assert key.startswith("AGE-SECRET-KEY-1")
    opened = " ".join(lab.learn_secrets())
    # The provider turns both into base64; were they nowhere, the search below could not fail.
    assert _base64(key) in opened and _base64(TOKEN) in opened
    outputs = lab.pulumi("stack", "output", "--stack", lab.stack).output
    shown = lab.state() + lab.preview().output + outputs
    forms = [f(it) for it in (key, TOKEN) for f in (str, _base64)]
    assert [form for form in forms if form in shown] == []
    files = [it for it in lab.folder.rglob("*") if it.is_file()]
    assert len(files) > 50
    found = [it for it in files if any(form.encode() in it.read_bytes() for form in forms)]
    assert found == []


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_repository_over_ssh_is_read_by_its_deploy_key(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("pve1")
    key = asyncssh.generate_private_key("ssh-ed25519")
    with served_over_ssh(pushed(tmp_path), key) as repository:
        follow(lab, repository)
        hide(lab, "flux.deploy_key", key.export_private_key("openssh").decode())
        hide(lab, "sops.age_key", example_key())
        assert_up(lab)
        until(applied(kubernetes(lab), repository.head))
        assert_no_diff(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def test_flux_can_be_removed_alone_alive_dead_and_stuck(
    make_lab: MakeLab, repository: GitRepository
) -> None:
    lab = make_lab("pve1")
    for condition in ("alive", "dead", "stuck"):
        follow(lab, repository)
        hide(lab, "flux.token", TOKEN)
        hide(lab, "sops.age_key", example_key())
        assert_up(lab)
        api = kubernetes(lab)
        until(applied(api, repository.head))
        spoil(api, condition)
        lab.forget("flux")  # the age key stays: certificates are kept with it too
        removed = lab.up()
        assert removed.code == 0, (condition, removed.output)
        assert set(removed.changes) == {"deleted", "updated"}
        assert removed.changes["updated"] == 1  # the record
        assert_flux_is_gone(api)
        # What it applied is still there.
        assert api.get(f"{HELLO}/secrets/hello")
        assert api.get("/apis/apps/v1/namespaces/hello/deployments/hello")
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


@pytest.mark.parametrize("condition", ["dead", "stuck"])
def test_a_destroy_ends_whatever_became_of_flux(
    make_lab: MakeLab, repository: GitRepository, condition: str
) -> None:
    lab = make_lab("pve1")
    follow(lab, repository)
    hide(lab, "flux.token", TOKEN)
    hide(lab, "sops.age_key", example_key())
    assert_up(lab)
    spoil(kubernetes(lab), condition)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


def spoil(api: ClusterApi, condition: str) -> None:
    """Make Flux dead (no controller runs) or stuck (they run, and let go of nothing)."""
    # Or there would be nothing to hang on.
    until(lambda: (api.get(SYNC) or {})["metadata"].get("finalizers"))
    deployments = "/apis/apps/v1/namespaces/flux-system/deployments"
    pods = "/api/v1/namespaces/flux-system/pods"
    if condition == "dead":
        for it in api.items(deployments):
            api.merge(f"{deployments}/{it['metadata']['name']}", {"spec": {"replicas": 0}})
        until(lambda: not api.items(pods))
    if condition == "stuck":
        space = "/api/v1/namespaces/flux-system"
        api.merge(space, {"metadata": {"annotations": {ANNOTATION: STUCK}}})


def assert_flux_is_gone(api: ClusterApi) -> None:
    """Nothing of Flux is left, of its kinds and roles neither."""
    assert api.get("/api/v1/namespaces/flux-system") is None
    kinds = api.items("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert [it for it in kinds if "fluxcd" in it["spec"]["group"]] == []
    for kind in ("clusterroles", "clusterrolebindings"):
        names = [
            it["metadata"]["name"] for it in api.items(f"/apis/rbac.authorization.k8s.io/v1/{kind}")
        ]
        assert [name for name in names if "flux" in name or "crd-controller" in name] == []
