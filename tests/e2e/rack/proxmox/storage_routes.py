"""Requests about storages and their contents."""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import Iterator

from . import errors
from .access import Access
from .call import Call, Route
from .errors import ProxmoxError, TaskError
from .images import Images, ImageUnavailableError
from .model import Cluster, Node, Storage, Volume
from .tasks import Tasks

_EXTENSIONS = {
    "import": re.compile(r"[^/]+\.(ova|ovf|qcow2|raw|vmdk)"),
    "iso": re.compile(r"[^/]+\.(iso|img)"),
    "vztmpl": re.compile(r"[^/]+\.tar\.(gz|xz|zst|bz2)"),
}


class StorageRoutes:
    """The storages of the nodes."""

    def __init__(self, cluster: Cluster, tasks: Tasks, images: Images, access: Access) -> None:
        self._access = access
        self._cluster = cluster
        self._tasks = tasks
        self._images = images

    def __iter__(self) -> Iterator[Route]:
        storage = "/nodes/{node}/storage/{storage}"
        yield "GET", "/nodes/{node}/storage", self.storages
        yield "GET", f"{storage}/status", self.status
        yield "GET", f"{storage}/content", self.content
        yield "GET", f"{storage}/content/{{volid:.+}}", self.volume
        yield "DELETE", f"{storage}/content/{{volid:.+}}", self.delete_volume
        yield "GET", "/nodes/{node}/query-url-metadata", self.url_metadata
        yield "POST", f"{storage}/download-url", self.download

    async def storages(self, call: Call) -> object:
        """List the storages of a node, all or those for some content."""
        wanted = set(filter(None, call.parameters.get("content", "").split(",")))
        name = call.parameters.get("storage")
        return [
            storage.summary()
            for storage in self._node(call).storages
            if wanted <= storage.content and name in (None, storage.name)
        ]

    async def status(self, call: Call) -> object:
        """Describe one storage."""
        name = call.path["storage"]
        if all(storage.name != name for storage in self._node(call).storages):
            raise errors.invalid_parameter("storage", "No such storage.")
        return self._storage(call).summary()

    async def content(self, call: Call) -> object:
        """List the volumes of a storage."""
        path = f"/storage/{call.path['storage']}"
        self._access.require(path, "Datastore.Audit", "Datastore.AllocateSpace")
        wanted = call.parameters.get("content")
        return [
            volume.summary()
            for volume in self._storage(call).volumes.values()
            if wanted in (None, volume.content)
        ]

    async def volume(self, call: Call) -> object:
        """Describe one volume."""
        volume = self._storage(call).get(call.path["volid"])
        return volume.summary() | {"path": f"/var/lib/vz/{volume.volid.partition(':')[2]}"}

    async def delete_volume(self, call: Call) -> object:
        """Remove a volume; one that is not there does not fail."""
        storage = self._storage(call)
        volid = storage.full_id(call.path["volid"])
        storage.volumes.pop(volid, None)
        return self._tasks.record(call.path["node"], "imgdel", volid, call.user)

    async def url_metadata(self, call: Call) -> object:
        """Ask the server behind a URL for the size of the file."""
        self._node(call)
        url = call.require("url")
        name = posixpath.basename(urllib.parse.urlsplit(url).path)
        try:
            size = self._images.size(url)
        except ImageUnavailableError as error:
            raise ProxmoxError(f"invalid server response: '{error}'") from None
        return {"filename": name, "mimetype": "application/octet-stream", "size": size}

    async def download(self, call: Call) -> object:
        """Fetch a file from a URL; what goes wrong while it is fetched fails the task."""
        storage = self._storage(call)
        content, filename = call.require("content"), call.require("filename")
        if content not in storage.content:
            raise errors.wrong_content_type(storage.name, content)
        if content not in _EXTENSIONS or not _EXTENSIONS[content].fullmatch(filename):
            raise errors.invalid_parameter("filename", "invalid filename or wrong extension")
        volume = Volume(
            volid=f"{storage.name}:{content}/{filename}",
            content=content,
            format=filename.rpartition(".")[2],
            size=0,
            url=call.require("url"),
        )
        return self._tasks.run(
            call.path["node"],
            "download",
            storage.name,
            call.user,
            lambda: self._fetch(storage, volume),
        )

    def _fetch(self, storage: Storage, volume: Volume) -> None:
        if volume.volid in storage.volumes:
            path = f"/var/lib/vz/{volume.volid.partition(':')[2]}"
            raise TaskError(f"refusing to override existing file '{path}'")
        try:
            volume.size = self._images.size(volume.url)
        except ImageUnavailableError as error:
            raise TaskError(f"download failed: {error.download_error}") from None
        storage.add(volume)

    def _node(self, call: Call) -> Node:
        return self._cluster.node(call.path["node"])

    def _storage(self, call: Call) -> Storage:
        return self._node(call).storage(call.path["storage"])
