"""Objects as they are written in files: where the API has them, and what a folder of them says."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .client import KubernetesClient

_FIRST = ("CustomResourceDefinition", "Namespace", "ServiceAccount", "ClusterRole")


async def path_of(client: KubernetesClient, thing: Mapping[str, Any]) -> str:
    """The path of an object; raises ``LookupError`` where the API does not know its kind."""
    version = thing["apiVersion"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    known = (await client.get(base) or {"resources": []})["resources"]
    kind = next((it for it in known if it["kind"] == thing["kind"] and "/" not in it["name"]), None)
    if kind is None:
        raise LookupError(f'no matches for kind "{thing["kind"]}" in version "{version}"')
    metadata = thing["metadata"]
    space = f"/namespaces/{metadata.get('namespace', 'default')}" if kind["namespaced"] else ""
    return f"{base}{space}/{kind['name']}/{metadata['name']}"


def read(folder: Path) -> list[dict[str, Any]]:
    """Every object in the files of a folder, those first that others stand in."""
    files = sorted(folder.rglob("*.yaml"))
    found = [
        it
        for file in files
        if not file.name.startswith((".", "kustomization"))
        for it in read_file(file)
    ]
    return sorted(found, key=lambda it: it["kind"] not in _FIRST)


def read_file(file: Path) -> list[dict[str, Any]]:
    """Every object in a file."""
    return [it for it in yaml.safe_load_all(file.read_text(encoding="utf-8")) if it]


async def decrypted(thing: dict[str, Any], age_key: str) -> dict[str, Any]:
    """An object as SOPS opens it; one that is not encrypted stays as it is."""
    if "sops" not in thing:
        return thing
    text = await run(
        ["sops", "decrypt", "--input-type", "yaml", "--output-type", "json", "/dev/stdin"],
        {"SOPS_AGE_KEY": age_key},
        yaml.safe_dump(thing),
    )
    opened: dict[str, Any] = json.loads(text)
    return opened


async def run(command: list[str], environment: Mapping[str, str], text: str = "") -> str:
    """What a command prints; raises ``OSError`` with what it complains of."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate(text.encode())
    if process.returncode:
        raise OSError(complaint.decode().strip())
    return output.decode()
