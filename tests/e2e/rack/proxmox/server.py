"""The API over HTTPS: tokens, forms, reason phrases."""

from __future__ import annotations

import re
import ssl
import urllib.parse
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler as HttpHandler

from ..certificates import CertificateAuthority
from ..faults import Fault, Faults, Kind
from ..request_log import Request, RequestLog
from . import errors
from .call import Call, Handler, Route
from .errors import ProxmoxError, TaskError
from .tasks import Tasks

_BASE = "/api2/json"
_SCHEME = "PVEAPIToken="
_SECRET_PARAMETERS = frozenset({"cipassword"})


class ProxmoxServer:
    """Serves routes to whoever has the token; ``require_answer`` refuses silent hosts."""

    def __init__(
        self,
        *,
        routes: Iterable[Route],
        require_answer: Callable[[str], None],
        token: str,
        requests: RequestLog,
        faults: Faults,
        tasks: Tasks,
        has_quorum: Callable[[], bool] = lambda: True,
    ) -> None:
        self._has_quorum = has_quorum
        self._token = token
        self._require_answer = require_answer
        self._requests = requests
        self._faults = faults
        self._tasks = tasks
        app = web.Application(middlewares=[self._middleware])
        for method, path, handler in routes:
            app.router.add_route(method, f"{_BASE}{path}", self._answer(handler))
        app.router.add_route("*", "/{path:.*}", self._unknown)
        self._app = app
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int, tls: ssl.SSLContext) -> int:
        """Listen, and return the port."""
        self._runner = runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, address, port, ssl_context=tls)
        await site.start()
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner:
            await self._runner.cleanup()

    def _answer(self, handler: Handler) -> HttpHandler:
        async def answer(request: web.Request) -> web.StreamResponse:
            call = Call(
                user=self._user,
                path=request.match_info,
                parameters=await _parameters(request),
            )
            if node := call.path.get("node"):
                self._require_answer(node)
            return web.json_response({"data": await handler(call)})

        return answer

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        raise errors.not_implemented(request.method, request.path.removeprefix(_BASE))

    @web.middleware
    async def _middleware(self, request: web.Request, handler: HttpHandler) -> web.StreamResponse:
        path = urllib.parse.unquote(request.rel_url.raw_path).removeprefix(_BASE)
        parameters = await _parameters(request)
        kept = {k: v for k, v in parameters.items() if k not in _SECRET_PARAMETERS}
        self._requests.append(
            Request(api="proxmox", method=request.method, path=path, parameters=kept)
        )
        try:
            self._authenticate(request)
            if request.method != "GET" and not self._has_quorum():
                raise errors.no_quorum()
            fault = await self._faults.meet("proxmox", request.method, path)
            if fault is None:
                return await handler(request)
            return await self._go_wrong(fault, request, path, handler)
        except TaskError as error:  # the same failure in a call that makes no task
            return _refusal(ProxmoxError(str(error)))
        except ProxmoxError as error:
            return _refusal(error)

    async def _go_wrong(
        self, fault: Fault, request: web.Request, path: str, handler: HttpHandler
    ) -> web.StreamResponse:
        """Do what a fault wants; the errors are in the words of Proxmox VE."""
        match fault.kind:
            case Kind.CUT | Kind.CUT_AFTER:
                if fault.kind is Kind.CUT_AFTER:
                    await handler(request)
                if request.transport:
                    request.transport.abort()
                return web.Response(status=500)
            case Kind.TASK_FAILED:
                return self._failed_task(path, fault.reason)
            case Kind.LOCKED:
                locked = errors.vm_locked("backup")
                if re.fullmatch(r".*/(status/\w+|resize)", path):
                    return self._failed_task(path, str(locked))
                raise locked
            case Kind.TIMED_OUT:
                # pveproxy's own number, for a node or a daemon behind it that does not answer.
                raise ProxmoxError("Connection timed out", status=596)
            case _:
                raise ProxmoxError(fault.reason, status=fault.status)

    def _failed_task(self, path: str, reason: str) -> web.Response:
        node = path.split("/")[2]
        upid = self._tasks.record(node, "fault", "", self._user, exitstatus=reason)
        return web.json_response({"data": upid})

    @property
    def _user(self) -> str:
        return self._token.partition("=")[0]

    def _authenticate(self, request: web.Request) -> None:
        header = request.headers.get("Authorization", "")
        if not header.startswith(_SCHEME):
            raise errors.unauthorized("No ticket")
        if header.removeprefix(_SCHEME) != self._token:
            raise errors.unauthorized("Authentication failed!")


def server_tls(authority: CertificateAuthority, address: str, directory: Path) -> ssl.SSLContext:
    """Make the TLS side of the server; its files go into ``directory``."""
    pair = authority.issue("proxmox", hosts=[address, "localhost"])
    chain = directory / "proxmox.pem"
    chain.touch(mode=0o600)
    chain.write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


async def _parameters(request: web.Request) -> dict[str, str]:
    form = await request.post()
    return {**request.query, **{k: v for k, v in form.items() if isinstance(v, str)}}


def _refusal(error: ProxmoxError) -> web.Response:
    reason = error.reason.replace("\n", " ")
    if error.status == HTTPStatus.UNAUTHORIZED:
        return web.Response(status=error.status, reason=reason)
    body = {"data": None, "message": error.reason, "errors": error.errors}
    return web.json_response(body, status=error.status, reason=reason)
