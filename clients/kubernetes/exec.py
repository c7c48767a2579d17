"""Runs a command in a container like ``kubectl exec``, without terminal and standard input."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Sequence

# The asyncio client, because before Python 3.13 the threaded one sometimes loses an answer: a
# thread that reads and a thread that writes break each other's TLS connection
# (python/cpython#124984).
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from clients.errors import OperationError, describe_failure
from clients.kubernetes.api import ANSWER_LIMIT, ClusterApi, KubernetesError

PROTOCOL = Subprotocol("v4.channel.k8s.io")
"""The subprotocol in which the first byte of a message is its channel (k8s.io/apimachinery
pkg/util/remotecommand)."""
STDOUT, STDERR, STATUS = 1, 2, 3
"""Channels of messages."""
MAX_OUTPUT = 16 * 1024 * 1024
"""Maximum bytes of standard output; more is an error."""


def run(
    api: ClusterApi, namespace: str, pod: str, container: str, command: Sequence[str], limit: float
) -> bytes:
    """Run a command and return its standard output.

    Raises ``OperationError`` if the command fails or takes longer than ``limit`` seconds, and
    ``KubernetesError`` if it cannot start. The error contains its standard error, but not its
    standard output, which may be secret.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    address = "wss" + api.endpoint.removeprefix("https") + f"/api/v1/namespaces/{namespace}"
    address += f"/pods/{pod}/exec?{urllib.parse.urlencode(query)}"
    try:
        messages = asyncio.run(_collect(api, address, limit))
    except TimeoutError:
        raise OperationError(f"a command in {pod} did not end within {limit:g} s") from None
    except InvalidStatus as error:
        response = error.response
        raise KubernetesError(
            f"exec in {pod}", api.endpoint, response.reason_phrase, response.status_code
        ) from None
    except (OSError, WebSocketException) as error:
        raise KubernetesError(f"exec in {pod}", api.endpoint, describe_failure(error)) from None
    if len(messages[STDOUT]) > MAX_OUTPUT:
        raise OperationError(f"a command in {pod} prints more than {MAX_OUTPUT} bytes")
    if not _is_success(messages[STATUS]):
        stderr = messages[STDERR].decode(errors="replace").strip()
        raise OperationError(f"a command in {pod} failed: {stderr or 'it printed no error'}")
    return messages[STDOUT]


async def _collect(api: ClusterApi, address: str, limit: float) -> dict[int, bytes]:
    """Receive until the status or more than ``MAX_OUTPUT`` bytes; returns the bytes by channel."""
    messages: dict[int, bytes] = {STDOUT: b"", STDERR: b"", STATUS: b""}
    async with (
        asyncio.timeout(limit),
        connect(
            address,
            ssl=api.tls,
            subprotocols=[PROTOCOL],
            proxy=None,  # the cluster is in the local network: use no proxy
            open_timeout=min(limit, ANSWER_LIMIT),
            close_timeout=1,
            max_size=MAX_OUTPUT,
        ) as socket,
    ):
        while not messages[STATUS] and len(messages[STDOUT]) <= MAX_OUTPUT:
            message = await socket.recv(decode=False)
            if message and message[0] in messages:
                messages[message[0]] += message[1:]
    return messages


def _is_success(status: bytes) -> bool:
    try:
        return bool(json.loads(status).get("status") == "Success")
    except (ValueError, AttributeError):
        return False
