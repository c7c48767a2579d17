"""A cluster is saved, removed and restored from the saved files: real engine, real etcd."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import RESTORES, Lab, without
from tests.e2e.test_life import assert_empty, assert_no_diff, assert_up
from tests.e2e.watch import Kubernetes

ABSENT = without(RESTORES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)

MAPS, SECRETS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"
PASSWORD = "a password that only the old cluster knows"


def snapshot(lab: Lab) -> Path:
    """What ``make snapshot`` keeps."""
    kept = lab.make("snapshot")
    assert kept.code == 0, kept.output
    path = re.search(r"Saved a snapshot of etcd: (\.state/etcd/\S+), [\d.]+ MB", kept.output)
    assert path, kept.output
    assert PASSWORD not in kept.output
    return lab.program / path[1]


def make_key(lab: Lab) -> None:
    """What ``make age-key`` does; it stands in the stack file, encrypted, and must stay there."""
    made = lab.make("age-key")
    assert made.code == 0, made.output
    file = yaml.safe_load((lab.program / f"Pulumi.{lab.stack}.yaml").read_text(encoding="utf-8"))
    lab.config = file["config"]


def test_a_castle_comes_back_from_its_snapshot(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2")
    assert_up(lab)
    plain = snapshot(lab)
    assert plain.suffix == ".db"

    make_key(lab)
    assert_up(lab)
    kubernetes = Kubernetes(lab)
    metadata = {"name": "mine"}
    kubernetes.call("POST", MAPS, {"metadata": metadata, "data": {"kept": "yes"}})
    kubernetes.call("POST", SECRETS, {"metadata": metadata, "stringData": {"word": PASSWORD}})
    identity = kubernetes.call("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    sealed = snapshot(lab)
    assert sealed.name.endswith(".db.age")
    kubernetes.call("DELETE", f"{MAPS}/mine")

    lab.set("cluster.restore_from", str(sealed.relative_to(lab.program)))
    for refused in (lab.preview(), lab.up("--skip-preview")):
        assert refused.code != 0
        assert "cluster.restore_from = .state/etcd/" in refused.output
        assert "the etcd of this cluster already runs" in refused.output
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)

    lab.set("cluster.kubernetes", "v1.34.5")
    older = lab.preview()
    assert older.code != 0
    assert "was written by Kubernetes v1.36.3, newer than cluster.kubernetes" in older.output
    lab.set("cluster.kubernetes", "v1.36.3")
    planned = lab.preview()
    assert planned.code == 0, planned.output
    assert ("import", "cluster-secrets") in planned.steps
    assert_up(lab)
    again = Kubernetes(lab)
    assert again.call("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"] == identity
    assert again.call("GET", f"{MAPS}/mine")["data"] == {"kept": "yes"}
    # Readable by the old machine secrets alone.
    assert "word" in again.call("GET", f"{SECRETS}/mine")["data"]
    assert set(again.nodes()) == {guest["name"] for guest in lab.guests().values()}
    assert_no_diff(lab)
    unchanged = lab.up()
    assert unchanged.code == 0 and not unchanged.changes
    sealed.unlink()
    assert_no_diff(lab)
    lab.set("cluster.restore_from", None)
    assert_no_diff(lab)
    gone = lab.destroy()
    assert gone.code == 0, gone.output
    assert_empty(lab)


@pytest.mark.parametrize("at", ["cluster-bootstrap", "metallb-release"])
def test_a_restore_that_is_killed_goes_on(make_lab: MakeLab, at: str) -> None:
    lab = make_lab("pve1")
    make_key(lab)
    assert_up(lab)
    Kubernetes(lab).call("POST", MAPS, {"metadata": {"name": "mine"}, "data": {"kept": "yes"}})
    sealed = snapshot(lab)
    assert lab.make("down").code == 0
    lab.set("cluster.restore_from", str(sealed))
    lab.kill_at(f"{at} creating")
    done = lab.make("up")
    assert done.code == 0, done.output
    assert Kubernetes(lab).call("GET", f"{MAPS}/mine")["data"] == {"kept": "yes"}
    assert_no_diff(lab)
