"""A command in a pod: what is asked, and what becomes of each way in which it can end."""

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

from clients.kubernetes import exec
from clients.kubernetes.api import ApiError, ClusterApi

T = TypeVar("T")
COMMAND = ["sh", "-c", "cat /data/a b.json"]
SUCCESS = b"\x03" + json.dumps({"status": "Success"}).encode()
FAILURE = b"\x03" + json.dumps({"status": "Failure", "message": "exit code 1"}).encode()


class Pods:
    """An API that wants a client certificate, and lets commands run as a test says."""

    def __init__(self) -> None:
        self.answer: Callable[[ServerConnection], Awaitable[None]]
        self.says()
        self.paths: list[str] = []
        self.protocols: list[str | None] = []
        authority = trustme.CA()
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(theirs)
        authority.configure_trust(theirs)
        theirs.verify_mode = ssl.CERT_REQUIRED
        ours = ssl.create_default_context()
        authority.configure_trust(ours)
        authority.issue_cert("me@example.org").configure_cert(ours)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._there(self._serve(theirs))
        (socket,) = self._server.sockets
        self.api = ClusterApi(f"https://127.0.0.1:{socket.getsockname()[1]}", ours)

    async def _serve(self, tls: ssl.SSLContext) -> Server:
        protocols = [exec.PROTOCOL]
        return await serve(self._handle, "127.0.0.1", 0, ssl=tls, subprotocols=protocols)

    def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done where the server runs."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.protocols.append(connection.subprotocol)
        await self.answer(connection)

    def says(self, *messages: bytes) -> None:
        """Answer with these, and hang up."""

        async def answer(connection: ServerConnection) -> None:
            for message in messages:
                await connection.send(message)

        self.answer = answer

    def stop(self) -> None:
        """Answer nobody any more."""

        async def stop() -> None:
            self._server.close()
            await self._server.wait_closed()

        self._there(stop())

    def close(self) -> None:
        """End all that was begun."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, limit: float = 10) -> bytes:
        """Run the command."""
        return exec.run(self.api, "traefik", "traefik-0", "traefik", COMMAND, limit)


@pytest.fixture
def pods() -> Iterator[Pods]:
    found = Pods()
    yield found
    found.close()


def test_a_command_is_asked_for_as_the_api_wants_it(pods: Pods) -> None:
    pods.says(b"\x01", b"\x01first \xff", b"\x02a warning", b"\x01second\n", SUCCESS)
    assert pods.run() == b"first \xffsecond\n"
    (path,), (protocol,) = pods.paths, pods.protocols
    assert protocol == "v4.channel.k8s.io"
    address, _, query = path.partition("?")
    assert address == "/api/v1/namespaces/traefik/pods/traefik-0/exec"
    asked = urllib.parse.parse_qs(query)
    assert asked["command"] == COMMAND
    assert (asked["container"], asked["stdout"], asked["stderr"]) == (
        ["traefik"],
        ["true"],
        ["true"],
    )
    assert "stdin" not in asked and "tty" not in asked


def test_a_large_file_comes_in_pieces(pods: Pods) -> None:
    pieces = [bytes([number]) * 32768 for number in range(100)]
    pods.says(*(b"\x01" + piece for piece in pieces), SUCCESS)
    assert pods.run() == b"".join(pieces)


def test_a_command_that_fails_says_why_and_not_what_it_printed(pods: Pods) -> None:
    pods.says(b"\x01a private key", b"\x02cat: no such file", FAILURE)
    with pytest.raises(ApiError, match="in traefik-0 failed: cat: no such file") as failed:
        pods.run()
    assert "private" not in str(failed.value)


@pytest.mark.parametrize("messages", [(), (b"\x01half of a ",)])
def test_an_answer_that_is_cut_off_is_none(pods: Pods, messages: tuple[bytes, ...]) -> None:
    pods.says(*messages)
    with pytest.raises(ApiError, match="no command can be run in traefik-0"):
        pods.run()


def test_a_node_that_never_answers_is_given_up(pods: Pods) -> None:
    async def silent(connection: ServerConnection) -> None:
        await connection.wait_closed()

    pods.answer = silent
    with pytest.raises(ApiError, match="no command can be run in traefik-0: no answer"):
        pods.run(limit=0.2)


def test_an_api_that_is_not_there_or_refuses_is_named(pods: Pods) -> None:
    pods.stop()
    with pytest.raises(ApiError, match="no command can be run in traefik-0: .*Connect call failed"):
        pods.run()


def test_an_answer_without_an_end_is_none(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec, "MOST", 1000)
    pods.says(*(b"\x01" + b"x" * 900 for _ in range(2)), SUCCESS)
    with pytest.raises(ApiError, match="what traefik-0 says has no end"):
        pods.run()
