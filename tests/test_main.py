"""What ``__main__.py`` sends to the Pulumi engine: every input and option of every resource.

``tests/data/program`` has the requests of the reference stack, and those in which its variants
differ. The diff of a commit thereby shows each change of a value that reaches a provider. After an
intended change, write the files again::

    .venv/bin/python -m tests.test_main
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.record import Invoke, Recording, Resource
from rehearsal.run import Rehearsal
from rehearsal.values import MASK, Secret, reveal
from settings.project import PROJECT_FOLDER
from tests.rehearsals import FIXTURES, STACKS, rehearsed_fixture, rehearsed_stack, rehearsed_variant

FOLDER = PROJECT_FOLDER / "tests" / "data" / "program"
REFERENCE = "homelab"
STORED = {
    name: FOLDER / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.yaml"
    for name in (
        "backups in a bucket",
        "certificates with DNS-01",
        "Flux over SSH, with an age key",
        "host network",
        "no workers",
        "retained data disks",
        "time servers, mirrors and patches",
        "VLAN and production",
    )
}
"""The files of variants of the reference stack, with what differs from it."""


def requests(recording: Recording) -> dict[str, Any]:
    """Return all requests as plain values, with names instead of URNs and without secrets."""
    return {
        "resources": {it.name: _request(it) for it in sorted(recording.resources, key=_name)},
        "invokes": sorted((_invoke(it) for it in recording.invokes), key=str),
        "outputs": _masked(recording.outputs),
    }


def _invoke(invoke: Invoke) -> dict[str, Any]:
    secrets = dict.fromkeys(invoke.args.keys() & {"machineSecrets", "clientConfiguration"}, MASK)
    return {"token": invoke.token, "args": _masked({**invoke.args, **secrets})}


def _request(resource: Resource) -> dict[str, Any]:
    options = {
        "parent": _last(resource.parent),
        "provider": _last(resource.provider),
        "depends_on": _names(resource.dependencies),
        "deleted_with": _last(resource.deleted_with),
        "replace_with": _names(resource.replace_with),
        "ignore_changes": sorted(resource.ignore_changes),
        "replace_on_changes": sorted(resource.replace_on_changes),
        "delete_before_replace": resource.delete_before_replace,
        "retain_on_delete": resource.retain_on_delete,
        "custom_timeouts": dict(resource.custom_timeouts),
        "hooks": sorted(resource.hooks),
    }
    # The code of a dynamic provider is no value of the program.
    inputs = {key: value for key, value in resource.inputs.items() if key != "__provider"}
    return {
        "type": resource.type,
        "options": {key: value for key, value in options.items() if value},
        "inputs": _masked(inputs),
        **({} if resource.custom else {"outputs": _masked(resource.outputs)}),
    }


def _name(resource: Resource) -> str:
    return resource.name


def _last(urn: str | None) -> str:
    return (urn or "").rpartition("::")[2]


def _names(urns: Iterable[str]) -> list[str]:
    return sorted(map(_last, urns))


def _masked(value: Any) -> Any:
    """Replace the texts in secrets, because some are random. The structure stays."""
    if isinstance(value, Secret):
        return _mask_texts(reveal(value))
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    # The recipient of the rehearsal's age key, which is random.
    return "[age recipient]" if isinstance(value, str) and value.startswith("age1") else value


def _mask_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask_texts(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [_mask_texts(item) for item in value]
    return MASK if isinstance(value, str) else value


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def difference(variant: str) -> dict[str, Any]:
    """Return the requests of a variant that the reference stack does not have."""
    found = requests(rehearsed_variant(variant).recording)
    reference = requests(rehearsed_stack(REFERENCE).recording)
    return {
        "resources": {
            name: request
            for name, request in found["resources"].items()
            if request != reference["resources"].get(name)
        },
        "removed": sorted(reference["resources"].keys() - found["resources"].keys()),
        "invokes": [it for it in found["invokes"] if it not in reference["invokes"]],
        "outputs": {
            name: value
            for name, value in found["outputs"].items()
            if value != reference["outputs"].get(name)
        },
    }


def check(found: dict[str, Any], file: Path) -> None:
    """Compare requests with a file, first resource by resource, which fails with a short text."""
    stored = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert list(found["resources"]) == list(stored["resources"])
    for name, expected in stored["resources"].items():
        assert found["resources"][name] == expected, name
    assert found == stored


def test_the_engine_gets_the_stored_requests_of_the_reference_stack() -> None:
    check(requests(rehearsed_stack(REFERENCE).recording), FOLDER / f"{REFERENCE}.yaml")


@pytest.mark.parametrize("variant", STORED)
def test_the_engine_gets_the_stored_requests_of_a_variant(variant: str) -> None:
    check(difference(variant), STORED[variant])


def test_every_type_of_the_valid_stacks_is_stored() -> None:
    stored = [rehearsed_stack(REFERENCE), *map(rehearsed_variant, STORED)]
    valid = [*map(rehearsed_stack, STACKS), *map(rehearsed_fixture, FIXTURES)]
    assert types(valid) <= types(stored)


def types(rehearsals: Iterable[Rehearsal]) -> set[str]:
    """Return the types of all resources."""
    return {it.type for rehearsal in rehearsals for it in rehearsal.recording.resources}


def _write(file: Path, content: dict[str, Any]) -> None:
    text = yaml.dump(content, Dumper=_Dumper, width=100)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    _write(FOLDER / f"{REFERENCE}.yaml", requests(rehearsed_stack(REFERENCE).recording))
    for each, path in STORED.items():
        _write(path, difference(each))
