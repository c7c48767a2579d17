"""Every request of an ``up`` goes wrong once: it converges, or says why and the next one does.

And from where it stopped ``make down`` leaves nothing. ``make e2e`` takes a sample; with
``CASTLE_E2E=full`` (``make e2e-full``) each request fails in each way that it can. Without what
lives in Kubernetes: its API is a real one, which fails by being killed (test_kill.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import FULL, MakeLab
from tests.e2e.lab import Lab, Run, missing
from tests.e2e.rack.faults import Kind
from tests.e2e.test_life import assert_empty

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

KUBERNETES = ("kubernetes:", "LonghornStorage", "DeploymentRecord")
"""What lives in Kubernetes, or depends on it. The engine would write a state that it cannot read if
a resource depended on one that is left out."""
OUTSIDE = tuple(word for name in KUBERNETES for word in ("--exclude", f"**{name}**"))
READ = (Kind.REFUSED, Kind.CUT)
DONE = (Kind.REFUSED, Kind.TIMED_OUT, Kind.CUT, Kind.CUT_AFTER)
TASK = (*DONE, Kind.TASK_FAILED)
VM = (*TASK, Kind.LOCKED)
WORDS = {
    Kind.REFUSED: "simulated fault|500",
    Kind.TASK_FAILED: "simulated fault",
    Kind.LOCKED: "VM is locked",
    Kind.TIMED_OUT: "[Tt]imed out|504",
    Kind.CUT: "EOF|reset|closed|Remote end",
    Kind.CUT_AFTER: "EOF|reset|closed|Remote end|already exists",
}
"""What an error has of its cause."""


@dataclass(frozen=True)
class Request:
    """A request of an ``up``, as often as it is made, and the ways in which it can go wrong."""

    api: str
    method: str
    path: str
    """A regular expression; ``CP`` and ``WORKER`` stand for the addresses of the machines."""
    times: int
    kinds: tuple[Kind, ...]


REQUESTS = (
    Request("factory", "POST", "/schematics", 1, DONE),
    Request("proxmox", "GET", "/cluster/nextid", 4, READ),
    Request("proxmox", "GET", "/cluster/resources", 4, READ),
    Request("proxmox", "GET", "/nodes/pve1/query-url-metadata", 1, READ),
    Request("proxmox", "POST", "/nodes/pve1/storage/local/download-url", 1, TASK),
    Request("proxmox", "GET", "/nodes/pve1/storage/local/content", 1, READ),
    Request("proxmox", "POST", "/pools", 1, DONE),
    Request("proxmox", "GET", "/pools", 5, READ),
    Request("proxmox", "POST", "/nodes/pve1/qemu", 2, TASK),
    Request("proxmox", "GET", "/nodes/pve1/tasks/[^/]+/status", 7, READ),
    *(
        request
        for vm in (8000, 8010)
        for request in (
            Request("proxmox", "PUT", f"/nodes/pve1/qemu/{vm}/resize", 1, VM),
            Request("proxmox", "GET", f"/nodes/pve1/qemu/{vm}/status/current", 3, READ),
            Request("proxmox", "POST", f"/nodes/pve1/qemu/{vm}/status/start", 1, VM),
            Request("proxmox", "GET", f"/nodes/pve1/qemu/{vm}/config", 1, READ),
            Request(
                "proxmox",
                "GET",
                f"/nodes/pve1/storage/local-lvm/content/local-lvm:vm-{vm}-disk-.",
                1 if vm == 8000 else 2,
                READ,
            ),
        )
    ),
    *(
        request
        for node in ("CP", "WORKER")
        for request in (
            Request("talos", "Disks", node, 1, DONE),
            Request("talos", "ApplyConfiguration", node, 1, DONE),
        )
    ),
    Request("talos", "ServiceList", "CP", 2, READ),
    Request("talos", "Read", "CP", 1, READ),
    Request("talos", "Bootstrap", "CP", 1, DONE),
)
SAMPLE = {
    ("/schematics", Kind.REFUSED),
    ("/pools", Kind.CUT_AFTER),
    ("/nodes/pve1/qemu", Kind.CUT_AFTER),
    ("/nodes/pve1/qemu/8010/resize", Kind.REFUSED),
    ("/nodes/pve1/qemu/8000/status/start", Kind.TASK_FAILED),
    ("CP", Kind.CUT_AFTER),
}


def cases() -> Iterator[object]:
    """Each request in each way, one after the other."""
    for request in REQUESTS:
        for kind in request.kinds:
            for skip in range(request.times):
                sampled = skip == 0 and (request.path, kind) in SAMPLE
                if FULL or (sampled and request.method != "GET"):
                    name = f"{request.method} {request.path} {skip + 1} {kind}"
                    yield pytest.param(request, kind, skip, id=name.replace("/", "|"))


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A stack of two machines."""
    lab = make_lab("pve1")
    lab.set("nodes.workers.count", 1)
    lab.set("longhorn.replicas", 1)
    return lab


def real_path(lab: Lab, path: str) -> str:
    """The path with the addresses of this lab's machines."""
    addresses = {"CP": f"{lab.prefix}.253", "WORKER": f"{lab.prefix}.155"}
    return addresses.get(path, path)


def test_the_sweep_knows_every_request(lab: Lab) -> None:
    assert lab.make("up", *OUTSIDE).code == 0
    unknown: Counter[tuple[str, str, str]] = Counter()
    asked: Counter[Request] = Counter()
    for one in lab.control("GET", "/requests"):
        known = [
            request
            for request in REQUESTS
            if (request.api, request.method) == (one["api"], one["method"])
            and re.fullmatch(real_path(lab, request.path), one["path"])
        ]
        asked.update(known)
        if not known:
            unknown[one["api"], one["method"], one["path"]] += 1
    assert not unknown
    # One that is made more often than that would be let through by the sweep.
    assert {it: count for it, count in asked.items() if count > it.times} == {}


def up_with_fault(lab: Lab, request: Request, kind: Kind, skip: int, times: int | None = 1) -> Run:
    """An ``up`` that meets the fault; what it says of it is clear."""
    lab.control(
        "POST",
        "/faults",
        {
            "api": request.api,
            "method": request.method,
            "path": real_path(lab, request.path),
            "kind": kind,
            "skip": skip,
            "times": times,
        },
    )
    done = lab.make("up", *OUTSIDE)
    assert sum(fault["struck"] for fault in lab.control("GET", "/faults")) >= 1, "never asked"
    lab.control("DELETE", "/faults")
    if done.code != 0:
        said = done.output.rpartition("What failed:")[2]
        assert re.search(WORDS[kind], " ".join(said.split())), done.output
        assert "panic" not in done.output, done.output
    return done


def assert_converges_and_goes(lab: Lab) -> None:
    done = lab.make("up", *OUTSIDE)
    assert done.code == 0, done.output
    again = lab.pulumi("preview", "--expect-no-changes", "--stack", lab.stack, *OUTSIDE)
    assert again.code == 0, again.output
    assert_down(lab)


def assert_down(lab: Lab) -> None:
    gone = lab.make("down")
    assert gone.code == 0, gone.output
    assert_empty(lab)


@pytest.mark.parametrize(("request_", "kind", "skip"), list(cases()))
def test_a_fault_ends_well(lab: Lab, request_: Request, kind: Kind, skip: int) -> None:
    first = up_with_fault(lab, request_, kind, skip)
    if first.code != 0:
        assert_down(lab)
        up_with_fault(lab, request_, kind, skip)
    assert_converges_and_goes(lab)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(request, id=f"{request.method} {request.path}".replace("/", "|"))
        for request in REQUESTS
        # A machine is asked for ten minutes before the provider gives up.
        if request.api != "talos" and request.method != "GET"
        if FULL or request.path == "/nodes/pve1/qemu"
    ],
)
def test_a_fault_that_stays_is_told_and_what_was_made_goes(lab: Lab, request_: Request) -> None:
    assert up_with_fault(lab, request_, Kind.REFUSED, 0, None).code != 0
    assert_converges_and_goes(lab)
