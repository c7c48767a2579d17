"""A stand-in for the webhook of MetalLB's controller.

The API server calls it at the address of its Service, which is a loopback address of ours. Like
the real one it begins to serve a while after its pod is ready, and until then every pool and
advertisement is refused with a server error.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from ..certificates import CertificateAuthority
from .client import KubernetesClient

_NAMESPACE, _SERVICE = "metallb-system", "metallb-webhook-service"
_HOST = f"{_SERVICE}.{_NAMESPACE}.svc"
_SERVICE_PATH = f"/api/v1/namespaces/{_NAMESPACE}/services/{_SERVICE}"
_ENDPOINTS_PATH = (
    f"/apis/discovery.k8s.io/v1/namespaces/{_NAMESPACE}/endpointslices"
    f"?labelSelector=kubernetes.io/service-name%3D{_SERVICE}"
)
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
PORT = 443
"""Of the Service, in MetalLB's chart."""


class MetallbWebhook:
    """Serves while the controller's pod is ready, but for the first ``delay`` seconds."""

    def __init__(self, directory: Path, delay: float) -> None:
        self._authority = CertificateAuthority.create("metallb")
        self._directory = directory
        self._delay = delay
        self._ready_since: float | None = None
        self._runner: web.AppRunner | None = None

    async def follow(self, client: KubernetesClient) -> None:
        """Start or stop serving, as the state of the controller wants it."""
        address = await self._address(client)
        if address is None:
            self._ready_since = None
            await self.stop()
            return
        self._ready_since = self._ready_since or time.monotonic()
        if self._runner is None and time.monotonic() - self._ready_since >= self._delay:
            await self._serve(address)
        if self._runner:
            await self._inject(client)

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _address(self, client: KubernetesClient) -> str | None:
        """Return the Service's address once a pod behind it is ready."""
        service = await client.get(_SERVICE_PATH)
        slices = await client.list(_ENDPOINTS_PATH) if service else []
        endpoints = [endpoint for item in slices for endpoint in item.get("endpoints") or []]
        if service and any(endpoint["conditions"].get("ready") for endpoint in endpoints):
            return str(service["spec"]["clusterIP"])
        return None

    async def _serve(self, address: str) -> None:
        pair = self._authority.issue(_HOST, hosts=[_HOST])
        chain = self._directory / "metallb-webhook.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        app = web.Application()
        app.router.add_post("/{path:.*}", _review)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, address, PORT, ssl_context=context).start()
        except OSError:
            await runner.cleanup()
            raise  # tried again
        self._runner = runner

    async def _inject(self, client: KubernetesClient) -> None:
        """Write our certificate authority into the configuration, as the controller does."""
        bundle = base64.b64encode(self._authority.pem).decode()
        for configuration in await client.list(_CONFIGURATIONS):
            webhooks = configuration.get("webhooks") or []
            ours = [hook["clientConfig"] for hook in webhooks if _is_metallbs(hook)]
            if any(config.get("caBundle") != bundle for config in ours):
                for config in ours:
                    config["caBundle"] = bundle
                name = configuration["metadata"]["name"]
                await client.patch(f"{_CONFIGURATIONS}/{name}", {"webhooks": webhooks})


def _is_metallbs(hook: dict[str, Any]) -> bool:
    service = hook["clientConfig"].get("service") or {}
    return (service.get("namespace"), service.get("name")) == (_NAMESPACE, _SERVICE)


async def _review(request: web.Request) -> web.Response:
    """Admit what MetalLB would: of pools only those whose ranges are in order."""
    review = await request.json()
    problem = _problem(review["request"]["object"])
    answer: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": not problem}
    if problem:
        answer["status"] = {"code": 403, "message": problem}
    return web.json_response(
        {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}
    )


def _problem(subject: dict[str, Any]) -> str:
    ranges = subject["spec"].get("addresses", []) if subject["kind"] == "IPAddressPool" else []
    for text in ranges:
        first, dash, last = text.partition("-")
        try:
            if not dash:
                ipaddress.ip_network(text)
            elif int(ipaddress.ip_address(first)) > int(ipaddress.ip_address(last)):
                return f'invalid IP range "{text}": start IP "{first}" is after the end IP "{last}"'
        except ValueError as error:
            return f"invalid CIDR {text!r}: {error}"
    return ""
