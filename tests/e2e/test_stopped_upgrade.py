"""An upgrade of Talos whose image cannot be pulled, or that is stopped with Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import CHANGES, LIMIT, Lab, without
from tests.e2e.test_day_two import NEW, OLD
from tests.e2e.test_life import assert_no_diff, assert_up
from tests.e2e.watch import Kubernetes, diary, order, rebooted

ABSENT = without(CHANGES)
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
SLOW_S = 20
"""Seconds by which a request is answered later."""


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A control plane and a worker with an old Talos."""
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    lab.set("cluster.talos", OLD)
    assert_up(lab)
    return lab


def asked(lab: Lab, method: str) -> int:
    """How often the nodes were asked for this."""
    return sum(it["method"] == method for it in lab.control("GET", "/requests"))


def stop_during(lab: Lab, method: str, *signals: int) -> None:
    """Begin a ``make up``, and send the signals to its process group, as a terminal does, while a
    node works on this request; returns after the node has ended that."""
    lab.control(
        "POST", "/faults", {"api": "talos", "method": method, "kind": "slow", "seconds": SLOW_S}
    )
    before = asked(lab, method)
    process = lab.start_make("up")
    deadline = time.monotonic() + LIMIT
    while asked(lab, method) == before:
        assert time.monotonic() < deadline and process.poll() is None, lab.finish(process).output
        time.sleep(0.2)
    for number in signals:
        os.killpg(process.pid, number)
        time.sleep(1)
    lab.finish(process)
    time.sleep(SLOW_S)


def test_an_image_that_cannot_be_pulled_is_named_within_two_minutes(lab: Lab) -> None:
    kubernetes = Kubernetes(lab)
    lab.set("cluster.talos", NEW)
    begin = len(diary(lab))
    order(lab, image_fault="unreachable")
    start = time.monotonic()
    failed = lab.make("up")
    assert failed.code != 0
    assert time.monotonic() - start < 180
    assert "because it cannot pull" in failed.output
    assert "failed to do request" in failed.output
    assert "no such host" in failed.output
    assert kubernetes.cordoned() == []
    assert rebooted(diary(lab)[begin:]) == []


def test_a_stopped_upgrade_reboots_no_node_with_the_old_talos(lab: Lab) -> None:
    kubernetes = Kubernetes(lab)
    lab.set("cluster.talos", NEW)
    begin = len(diary(lab))
    stop_during(lab, "Pull", signal.SIGTERM)
    stop_during(lab, "Pull", signal.SIGINT, signal.SIGINT)
    stop_during(lab, "Upgrade", signal.SIGTERM)
    stop_during(lab, "Upgrade", signal.SIGINT, signal.SIGINT)
    assert asked(lab, "Reboot") == 0
    assert rebooted(diary(lab)[begin:]) == []
    assert set(kubernetes.versions().values()) == {f"Talos ({OLD})"}

    done = lab.make("up")
    assert done.code == 0, done.output
    assert len(rebooted(diary(lab)[begin:])) == 2
    assert set(kubernetes.versions().values()) == {f"Talos ({NEW})"}
    assert kubernetes.cordoned() == []
    assert_no_diff(lab)
