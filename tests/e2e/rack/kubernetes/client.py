"""A client of the Kubernetes API, as small as the stand-ins need it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_PATIENCE = 10
_PAUSE = 0.2
_TRANSIENT = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""What the API server answers while it takes up a new type."""
_MERGE = "application/merge-patch+json"


class KubernetesClient:
    """Calls the API with an administrator's certificate."""

    def __init__(self, server: str, authority: Path, chain: Path) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=authority)
        self._tls.load_cert_chain(chain)
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def is_ready(self) -> bool:
        """Tell whether the API server answers and is ready."""
        try:
            async with self._session.get(f"{self._server}/readyz", ssl=self._tls) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def get(self, path: str) -> dict[str, Any] | None:
        """Get an object, or None if it or its type does not exist."""
        return await self._call("GET", path)

    async def list(self, path: str) -> list[dict[str, Any]]:
        """List the objects of a type; none if there is no such type."""
        answer = await self._call("GET", path)
        return list(answer["items"]) if answer else []

    async def create(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object."""
        await self._call("POST", path, body)

    async def patch(self, path: str, body: Mapping[str, Any]) -> bool:
        """Merge changes into an object, or into its status at ``…/status``; whether it exists."""
        return await self._call("PATCH", path, body, _MERGE) is not None

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> None:
        """Apply an object as its server does it: what the manager does not name stays as it is."""
        query = f"?fieldManager={manager}&force=true"
        await self._call("PATCH", path + query, body, "application/apply-patch+yaml")

    async def delete(self, path: str, *, grace_period_s: int | None = None) -> None:
        """Delete an object, if it is there; a pod has a grace period to end."""
        query = "" if grace_period_s is None else f"?gracePeriodSeconds={grace_period_s}"
        await self._call("DELETE", path + query)

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any] | None:
        async with asyncio.timeout(_PATIENCE):
            while True:
                status, answer = await self._request(method, path, body, content_type)
                if status not in _TRANSIENT:
                    break
                await asyncio.sleep(_PAUSE)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status >= HTTPStatus.BAD_REQUEST:
            raise KubernetesError(f"{method} {path}: {answer}")
        return dict(answer)

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, content_type: str
    ) -> tuple[int, Any]:
        async with self._session.request(
            method,
            self._server + path,
            json=body,
            headers={"Content-Type": content_type},
            ssl=self._tls,
        ) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text())


class KubernetesError(Exception):
    """The API server said no."""
