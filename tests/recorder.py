"""Records what a piece of the program asks of the engine, for tests of that piece alone."""

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

NOTHING = stack_file.StackFile(config={}, secret_keys=[])


def settings_with(*, running: RunningStack | None = None, **changes: Any) -> Settings:
    """The reference homelab with some groups changed: ``nodes={"workers": {"count": 4}}``.

    ``running`` is what the stack runs, which they are compared with; nothing by default.
    """
    document = yaml.safe_load((PROJECT_FOLDER / "Pulumi.homelab.yaml").read_text(encoding="utf-8"))
    config = document["config"]
    for group, change in changes.items():
        key = f"ephemeral-castle:{group}"
        config[key] = _merged(config.get(key, {}), change)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()
    }
    texts[TOKEN] = stack_file.PLACEHOLDER_TOKEN
    return load(texts, "homelab", running or RunningStack())


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        result[key] = _merged(old[key], value) if both else value
    return result


def record(build: Callable[[], object], *, preview: bool = False) -> Recording:
    """Run ``build`` inside of a stack and return all that it asked for; unknown calls raise."""
    monitor = RecordingMonitor(PROJECT, "homelab", preview)
    perform(lambda: _discard(build()), monitor, NOTHING)
    assert monitor.unanswered == []
    return monitor.recording


def _discard(_: object) -> None:
    """A program's body returns nothing."""


def one(recording: Recording, name: str) -> Resource:
    """The one resource of this name."""
    (found,) = [resource for resource in recording.resources if resource.name == name]
    return found


def sent(resource: Resource) -> dict[str, Any]:
    """A resource's inputs as the provider would get them, secrets open."""
    inputs: dict[str, Any] = reveal(dict(resource.inputs))
    return inputs
