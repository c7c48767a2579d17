"""Reads the machine configs of a recording."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import yaml

from rehearsal.machine_config import Document, patch
from rehearsal.record import Recording, Resource
from settings.resource_types import APPLY

LONGHORN_VOLUME = "longhorn"
"""Name of the user volume on the data disk."""


def configs(recording: Recording) -> Iterator[tuple[Resource, list[Document]]]:
    """Yield each ConfigurationApply with the documents that its node receives."""
    for apply in recording.of_type(APPLY):
        patches = apply.plain("configPatches") or ()
        yield apply, _documents(str(apply.plain("machineConfigurationInput")), tuple(patches))


@functools.lru_cache(maxsize=1024)  # most invariants of Talos read them, and YAML is slow
def _documents(configuration: str, patches: tuple[str, ...]) -> list[Document]:
    return patch(_load(configuration), patches)


@functools.lru_cache(maxsize=16)  # one for each role, however many nodes
def _load(text: str) -> tuple[Document, ...]:
    return tuple(document for document in yaml.safe_load_all(text) if document)


def main(documents: Iterable[Document]) -> Document:
    """Return the v1alpha1 document: ``machine`` and ``cluster``."""
    return next((document for document in documents if "kind" not in document), {})


def of_kind(documents: Iterable[Document], kind: str) -> list[Document]:
    """Return the documents of a kind."""
    return [document for document in documents if document.get("kind") == kind]


def longhorn_volumes(documents: Iterable[Document]) -> list[Document]:
    """Return Longhorn's user volume, if the node has it. Ignore volumes that patches add."""
    volumes = of_kind(documents, "UserVolumeConfig")
    return [volume for volume in volumes if volume.get("name") == LONGHORN_VOLUME]
