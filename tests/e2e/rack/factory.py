"""The Talos image factory over plain HTTP."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Sequence

import yaml
from aiohttp import web
from aiohttp.typedefs import Handler

from .faults import Faults, Kind
from .proxmox.images import ImageUnavailableError
from .request_log import Request, RequestLog

DEFAULT_VERSIONS = ("v1.12.7", "v1.13.0", "v1.13.9")
DEFAULT_EXTENSIONS = (
    "siderolabs/i915",
    "siderolabs/iscsi-tools",
    "siderolabs/qemu-guest-agent",
    "siderolabs/util-linux-tools",
)
_IMAGE_PATH = re.compile(r".*/image/(?P<schematic>[^/]+)/(?P<version>v[^/]+)/[^/]+")


class ImageFactory:
    """Knows schematics, Talos versions and official extensions; holds no image."""

    def __init__(
        self,
        requests: RequestLog,
        faults: Faults,
        *,
        versions: Sequence[str] = DEFAULT_VERSIONS,
        extensions: Sequence[str] = DEFAULT_EXTENSIONS,
    ) -> None:
        self.versions = list(versions)
        self.extensions = list(extensions)
        self.schematics: dict[str, str] = {}
        """The customisation by its id."""
        self.url, self.port = "", 0
        """Where it listens, once it does."""
        self._requests = requests
        self._faults = faults
        app = web.Application(middlewares=[self._meet_faults])
        app.router.add_post("/schematics", self._create_schematic)
        app.router.add_get("/versions", self._list_versions)
        app.router.add_get("/version/{version}/extensions/official", self._list_extensions)
        app.router.add_get("/version/{version}/overlays/official", self._list_overlays)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self, address: str, port: int) -> None:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port).start()
        self.port = int(self._runner.addresses[0][1])
        self.url = f"http://{address}:{self.port}"

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()

    def serves(self, url: str) -> bool:
        """Tell whether an image's URL leads here."""
        return bool(self.url) and url.startswith(f"{self.url}/")

    def require(self, url: str) -> None:
        """Fail unless the image behind a URL can be built.

        Only here the real factory notices an extension that does not exist: it accepts any
        schematic (siderolabs/image-factory#177).
        """
        match = _IMAGE_PATH.fullmatch(url)
        if match is None or match["schematic"] not in self.schematics:
            raise ImageUnavailableError("404 Not Found")
        if match["version"] not in self.versions:
            raise ImageUnavailableError("404 Not Found")
        if set(self.extensions_of(url)) - set(self.extensions):
            raise ImageUnavailableError("400 Bad Request")

    def extensions_of(self, url: str) -> list[str]:
        """List the extensions that are in the image behind a URL."""
        match = _IMAGE_PATH.fullmatch(url)
        text = self.schematics.get(match["schematic"], "") if match else ""
        value = yaml.safe_load(text)
        for key in ("customization", "systemExtensions", "officialExtensions"):
            value = value.get(key) if isinstance(value, dict) else None
        return list(value or [])

    @web.middleware
    async def _meet_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._requests.append(Request(api="factory", method=request.method, path=request.path))
        fault = await self._faults.meet("factory", request.method, request.path)
        if fault is None:
            return await handler(request)
        if fault.kind not in (Kind.CUT, Kind.CUT_AFTER):
            status = 504 if fault.kind is Kind.TIMED_OUT else 500
            return web.Response(status=status, text=fault.reason)
        if fault.kind is Kind.CUT_AFTER:
            await handler(request)
        if request.transport:
            request.transport.abort()
        return web.Response(status=500)

    async def _create_schematic(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            yaml.safe_load(body)
        except yaml.YAMLError as error:
            return web.Response(status=400, text=f"invalid schematic: {error}")
        schematic = hashlib.sha256(body).hexdigest()
        self.schematics[schematic] = body.decode()
        return web.json_response({"id": schematic}, status=201)

    async def _list_versions(self, request: web.Request) -> web.Response:
        return web.json_response(self.versions)

    async def _list_extensions(self, request: web.Request) -> web.Response:
        if request.match_info["version"] not in self.versions:
            return web.Response(status=404)
        return web.json_response(
            [
                {
                    "name": name,
                    "ref": f"ghcr.io/{name}:simulated",
                    "digest": f"sha256:{hashlib.sha256(name.encode()).hexdigest()}",
                    "author": "",
                    "description": "",
                }
                for name in self.extensions
            ]
        )

    async def _list_overlays(self, request: web.Request) -> web.Response:
        return web.json_response([])


class Internet:
    """The images that Proxmox VE finds: those of the factory, and any from elsewhere."""

    def __init__(self, factory: ImageFactory) -> None:
        self._factory = factory

    def size(self, url: str) -> int:
        """Return the size of the file behind a URL, or raise `ImageUnavailableError`."""
        server = urllib.parse.urlsplit(url)
        if self._factory.serves(url):
            self._factory.require(url)
        elif (server.hostname or "").startswith("127."):
            # Nobody else listens on loopback.
            raise ImageUnavailableError(
                f"500 Can't connect to {server.netloc} (Connection refused)",
                f"Connecting to {server.netloc}... failed: Connection refused.",
            )
        return 100 * 1024**2 + len(url)  # any number will do, if it is always the same one
