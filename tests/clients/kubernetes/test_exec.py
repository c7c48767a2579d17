"""A command in a pod: the request, and the result for each way in which it can end."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import trustme
from websockets.asyncio.server import Server, ServerConnection, serve

from clients.errors import OperationError
from clients.kubernetes import exec
from clients.kubernetes.api import ClusterApi, KubernetesError

T = TypeVar("T")
COMMAND = ["sh", "-c", "cat /data/a b.json"]
SUCCESS = b"\x03" + json.dumps({"status": "Success"}).encode()
FAILURE = b"\x03" + json.dumps({"status": "Failure", "message": "exit code 1"}).encode()


class FakeExecApi:
    """A Kubernetes API that requires a client certificate; a test sets the answer to ``exec``."""

    def __init__(self) -> None:
        self.answer: Callable[[ServerConnection], Awaitable[None]]
        self.answer_with()
        self.paths: list[str] = []
        self.protocols: list[str | None] = []
        authority = trustme.CA()
        server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(server_tls)
        authority.configure_trust(server_tls)
        server_tls.verify_mode = ssl.CERT_REQUIRED
        client_tls = ssl.create_default_context()
        authority.configure_trust(client_tls)
        authority.issue_cert("me@example.org").configure_cert(client_tls)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run_in_loop(self._serve(server_tls))
        (socket,) = self._server.sockets
        self.api = ClusterApi(f"https://127.0.0.1:{socket.getsockname()[1]}", client_tls)

    async def _serve(self, tls: ssl.SSLContext) -> Server:
        protocols = [exec.PROTOCOL]
        return await serve(self._handle, "127.0.0.1", 0, ssl=tls, subprotocols=protocols)

    def _run_in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop of the server."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.protocols.append(connection.subprotocol)
        await self.answer(connection)

    def answer_with(self, *messages: bytes) -> None:
        """Answer with these messages, then close the connection."""

        async def answer(connection: ServerConnection) -> None:
            for message in messages:
                await connection.send(message)

        self.answer = answer

    def stop(self) -> None:
        """Stop the server."""

        async def stop() -> None:
            self._server.close()
            await self._server.wait_closed()

        self._run_in_loop(stop())

    def close(self) -> None:
        """Stop the server and its thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, limit: float = 10) -> bytes:
        """Run the command."""
        return exec.run(self.api, "traefik", "traefik-0", "traefik", COMMAND, limit)


@pytest.fixture
def pods() -> Iterator[FakeExecApi]:
    found = FakeExecApi()
    yield found
    found.close()


def test_the_request_has_command_container_and_streams(pods: FakeExecApi) -> None:
    pods.answer_with(b"\x01", b"\x01first \xff", b"\x02a warning", b"\x01second\n", SUCCESS)
    assert pods.run() == b"first \xffsecond\n"
    (path,), (protocol,) = pods.paths, pods.protocols
    assert protocol == "v4.channel.k8s.io"
    address, _, query = path.partition("?")
    assert address == "/api/v1/namespaces/traefik/pods/traefik-0/exec"
    parameters = urllib.parse.parse_qs(query)
    assert parameters["command"] == COMMAND
    assert (parameters["container"], parameters["stdout"], parameters["stderr"]) == (
        ["traefik"],
        ["true"],
        ["true"],
    )
    assert "stdin" not in parameters and "tty" not in parameters


def test_a_large_output_in_several_messages_is_joined(pods: FakeExecApi) -> None:
    pieces = [bytes([number]) * 32768 for number in range(100)]
    pods.answer_with(*(b"\x01" + piece for piece in pieces), SUCCESS)
    assert pods.run() == b"".join(pieces)


def test_the_error_contains_standard_error_and_not_the_output(pods: FakeExecApi) -> None:
    pods.answer_with(b"\x01a private key", b"\x02cat: no such file", FAILURE)
    with pytest.raises(OperationError, match="in traefik-0 failed: cat: no such file") as failed:
        pods.run()
    assert "private" not in str(failed.value)


@pytest.mark.parametrize("messages", [(), (b"\x01half of a ",)])
def test_a_truncated_answer_is_an_error(pods: FakeExecApi, messages: tuple[bytes, ...]) -> None:
    pods.answer_with(*messages)
    with pytest.raises(KubernetesError, match="does not answer"):
        pods.run()


def test_an_api_that_never_answers_is_an_error_after_the_timeout(pods: FakeExecApi) -> None:
    async def silent(connection: ServerConnection) -> None:
        await connection.wait_closed()

    pods.answer = silent
    with pytest.raises(OperationError, match="in traefik-0 did not end within 0.2 s"):
        pods.run(limit=0.2)


def test_a_refused_connection_is_an_error(pods: FakeExecApi) -> None:
    pods.stop()
    with pytest.raises(KubernetesError, match="does not answer"):
        pods.run()


def test_more_output_than_the_maximum_is_an_error(
    pods: FakeExecApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec, "MAX_OUTPUT", 1000)
    pods.answer_with(*(b"\x01" + b"x" * 900 for _ in range(2)), SUCCESS)
    with pytest.raises(OperationError, match="in traefik-0 prints more than 1000 bytes"):
        pods.run()
