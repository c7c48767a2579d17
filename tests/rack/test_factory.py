"""The image factory, and the images that Proxmox VE downloads from it."""

from __future__ import annotations

import hashlib

import aiohttp
import pytest

from tests.e2e.rack.rack import Rack

from .proxmox_client import ProxmoxClient, RefusedError

SCHEMATIC = """\
customization:
    systemExtensions:
        officialExtensions:
            - {extension}
"""


async def upload(rack: Rack, extension: str = "siderolabs/iscsi-tools") -> str:
    """Make a schematic and return its id."""
    body = SCHEMATIC.format(extension=extension)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{rack.factory_url}/schematics", data=body) as response,
    ):
        schematic = str((await response.json())["id"])
    assert schematic == hashlib.sha256(body.encode()).hexdigest()
    return schematic


async def test_an_image_of_a_known_schematic_and_version_can_be_downloaded(rack: Rack) -> None:
    schematic = await upload(rack)
    url = f"{rack.factory_url}/image/{schematic}/v1.13.9/nocloud-amd64.qcow2"
    await ProxmoxClient.of(rack).download_image(url=url)
    assert rack.factory.extensions_of(url) == ["siderolabs/iscsi-tools"]


async def test_an_image_of_an_unknown_version_cannot(rack: Rack) -> None:
    url = f"{rack.factory_url}/image/{await upload(rack)}/v9.9.9/nocloud-amd64.qcow2"
    with pytest.raises(RefusedError, match="invalid server response: '404 Not Found'"):
        await ProxmoxClient.of(rack).call("GET", "/nodes/pve/query-url-metadata", url=url)


async def test_an_unknown_extension_shows_only_when_the_image_is_wanted(rack: Rack) -> None:
    schematic = await upload(rack, "siderolabs/iscsi-toolz")
    url = f"{rack.factory_url}/image/{schematic}/v1.13.9/nocloud-amd64.qcow2"
    with pytest.raises(RefusedError, match="download failed: exit code 8"):
        await ProxmoxClient.of(rack).download_image(url=url)


async def test_versions_and_extensions_are_listed(rack: Rack) -> None:
    async with aiohttp.ClientSession(base_url=rack.factory_url) as session:
        async with session.get("/versions") as response:
            assert "v1.13.9" in await response.json()
        async with session.get("/version/v1.13.9/extensions/official") as response:
            names = [extension["name"] for extension in await response.json()]
    assert "siderolabs/iscsi-tools" in names
