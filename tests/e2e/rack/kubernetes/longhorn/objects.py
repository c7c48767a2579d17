"""Longhorn's objects in the Kubernetes API: where they are and how they are written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

NAMESPACE = "longhorn-system"
ALL = f"/apis/longhorn.io/v1beta2/namespaces/{NAMESPACE}"
DRIVER = "driver.longhorn.io"
API_VERSION = "longhorn.io/v1beta2"

Thing = dict[str, Any]


def custom_object(kind: str, name: str, spec: Thing, labels: Mapping[str, str] = {}) -> Thing:
    """An object of Longhorn's."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": dict(labels)},
        "spec": spec,
    }


def by_name(things: Iterable[Thing]) -> dict[str, Thing]:
    """Objects by their names."""
    return {thing["metadata"]["name"]: thing for thing in things}


def now() -> str:
    """The time, as Longhorn writes it."""
    return timestamp(time.time())


def timestamp(seconds: float) -> str:
    """A time in seconds since 1970, as Longhorn writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def condition(
    former: Iterable[Thing] | None, kind: str, status: bool, reason: str = "", message: str = ""
) -> Thing:
    """A condition; it keeps the time of the former one if the status is the same."""
    found = next((it for it in former or () if it["type"] == kind), None)
    text = str(status)
    since = found["lastTransitionTime"] if found and found["status"] == text else now()
    return {
        "type": kind,
        "status": text,
        "reason": reason,
        "message": message,
        "lastProbeTime": "",
        "lastTransitionTime": since,
    }


def find_condition(thing: Mapping[str, Any], kind: str) -> Thing:
    """A condition of a status, or an empty one."""
    found: Iterable[Thing] = thing.get("conditions") or ()
    return next((it for it in found if it["type"] == kind), {})


def holds(thing: Mapping[str, Any], kind: str) -> bool:
    """Whether a condition of a status is true."""
    return find_condition(thing, kind).get("status") == "True"


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Thing:
    """The merge patch that makes the new object of the old one; empty if they are the same."""
    patch: Thing = dict.fromkeys(old.keys() - new.keys())
    for key, value in new.items():
        before = old.get(key)
        if key in old and before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            patch[key] = difference(before, value)
        else:
            patch[key] = value
    return patch
