"""The report of a running cluster: made from the engine's log and state, without secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import Lab, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def report(lab: Lab, *more: str) -> str:
    """Run the report in the lab's folder without the passphrase, and hand back what it printed."""
    environment = {k: v for k, v in lab.environment.items() if "PASSPHRASE" not in k}
    done = subprocess.run(
        [sys.executable, "-m", "report", "--stack", lab.stack, *more],
        cwd=lab.program,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(lab: Lab) -> Any:
    return json.loads(report(lab, "--json"))


def test_the_report_follows_the_castle_and_tells_no_secret(make_lab: MakeLab) -> None:
    lab = make_lab("pve1", "pve2")
    before = shown(lab)
    assert before["timeline"]["source"] == "rehearsal"
    assert before["certificates"] == {"found": [], "reason": "the stack has no cluster yet"}

    made = lab.make("up")
    assert made.code == 0, made.output
    first = shown(lab)
    timeline = first["timeline"]
    assert (timeline["source"], timeline["succeeded"]) == ("last up", True)
    names = {bar["name"] for bar in timeline["bars"]}
    assert {"machines-castle-worker-3", "longhorn-release", "whoami-route"} <= names
    assert {bar["operation"] for bar in timeline["bars"]} == {"create"}
    path = [bar["name"] for bar in timeline["bars"] if bar["critical"]]
    assert "cluster-readiness" in path
    assert 0 < max(bar["end"] for bar in timeline["bars"]) <= timeline["seconds"]
    ends = {one["name"]: one["days_left"] for one in first["certificates"]["found"]}
    assert set(ends) == {
        "kubeconfig",
        "talosconfig",
        "Kubernetes CA",
        "Kubernetes aggregator CA",
        "etcd CA",
        "Talos CA",
    }
    assert all(days > 0 for days in ends.values())

    report(lab)
    page = (lab.program / f"report-{lab.stack}.html").read_text(encoding="utf-8")
    record = (lab.program / ".state" / f"last-up-{lab.stack}.json").read_text(encoding="utf-8")
    hidden = lab.learn_secrets()
    assert len(hidden) > 20
    for written in (page, record, json.dumps(first)):
        assert [secret for secret in hidden if secret in written] == []
    # The log of the engine holds admin keys: it is gone with the private folder of its run.
    assert list(lab.folder.rglob("events.jsonl")) == []

    # An `up` that changes nothing has no timeline; one that changes something has its own.
    assert lab.make("up").code == 0
    assert shown(lab)["timeline"] == timeline
    lab.set("nodes.workers.count", 4)
    assert lab.make("up").code == 0
    assert {bar["name"] for bar in shown(lab)["timeline"]["bars"]} == {
        "machines-castle-worker-4",
        "cluster-castle-worker-4",
        "cluster-castle-worker-4-config",
        "cluster-readiness",
        "longhorn-storage",
        "record",
    }
