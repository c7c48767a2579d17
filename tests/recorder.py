"""Records the resources of one component, for unit tests of components."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import yaml

from rehearsal.monitor import RecordingMonitor
from rehearsal.record import Recording, Resource
from rehearsal.run import perform
from rehearsal.values import reveal
from settings import stack_file
from settings.groups import PROJECT
from settings.load import TOKEN, load
from settings.models import Settings
from settings.project import PROJECT_FOLDER
from settings.running import RunningStack

EMPTY_STACK_FILE = stack_file.StackFile(config={}, secret_keys=[])


def settings_with(*, running: RunningStack | None = None, **changes: Any) -> Settings:
    """Load Pulumi.homelab.yaml with changes by group: ``nodes={"workers": {"count": 4}}``.

    ``running`` is what the stack already runs; by default it runs nothing.
    """
    document = yaml.safe_load((PROJECT_FOLDER / "Pulumi.homelab.yaml").read_text(encoding="utf-8"))
    config = document["config"]
    for group, change in changes.items():
        key = f"ephemeral-castle:{group}"
        config[key] = _merge(config.get(key, {}), change)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()
    }
    texts[TOKEN] = stack_file.PLACEHOLDER_TOKEN
    return load(texts, "homelab", running or RunningStack())


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        both_are_dicts = isinstance(value, dict) and isinstance(old.get(key), dict)
        result[key] = _merge(old[key], value) if both_are_dicts else value
    return result


def record(build: Callable[[], object], *, preview: bool = False) -> Recording:
    """Run ``build`` as a Pulumi program and record its resources; fails on an unknown call."""
    monitor = RecordingMonitor(PROJECT, "homelab", preview)
    perform(lambda: _discard(build()), monitor, EMPTY_STACK_FILE)
    assert monitor.unanswered == []
    return monitor.recording


def _discard(_: object) -> None:
    """Drop a return value, because a Pulumi program returns nothing."""


def one(recording: Recording, name: str) -> Resource:
    """Return the resource with this name; fails if there is not exactly one."""
    (resource,) = [it for it in recording.resources if it.name == name]
    return resource


def sent(resource: Resource) -> dict[str, Any]:
    """Return the inputs of a resource as its provider would get them, secrets in plain text."""
    inputs: dict[str, Any] = reveal(dict(resource.inputs))
    return inputs
