"""A command in a container of the castle, as ``kubectl exec`` runs one: over a WebSocket.

Leaves out a terminal and standard input: what is read here is a file.
"""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Sequence

# Not its client with threads: before Python 3.13 one that reads and one that writes harm each other
# over TLS (python/cpython#124984), and an answer is lost now and then.
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from clients.kubernetes.api import ANSWER_LIMIT, ApiError, ClusterApi

PROTOCOL = Subprotocol("v4.channel.k8s.io")
"""The first byte of each message says what it is (k8s.io/apimachinery pkg/util/remotecommand)."""
OUTPUT, COMPLAINT, STATUS = 1, 2, 3
MOST = 16 * 1024 * 1024
"""Bytes that a command may print: what is more is no answer to anything that we ask."""


def run(
    api: ClusterApi, namespace: str, pod: str, container: str, command: Sequence[str], limit: float
) -> bytes:
    """What a command prints, once it has ended well; nothing of it is kept anywhere.

    ``limit`` is in seconds. Raises ``ApiError`` where it cannot be run, fails or takes longer; what
    it complained of is in the error, what it printed is not.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    address = "wss" + api.endpoint.removeprefix("https") + f"/api/v1/namespaces/{namespace}"
    address += f"/pods/{pod}/exec?{urllib.parse.urlencode(query)}"
    try:
        said = asyncio.run(_ask(api, address, limit))
    except InvalidStatus as error:
        raise ApiError(
            f"the Kubernetes API answers {error.response.status_code} when asked to run a command "
            f"in {pod}"
        ) from None
    except (OSError, WebSocketException) as error:
        raise ApiError(f"no command can be run in {pod}: {str(error) or 'no answer'}") from None
    if len(said[OUTPUT]) > MOST:
        raise ApiError(f"what {pod} says has no end")
    if not _is_success(said[STATUS]):
        complaint = said[COMPLAINT].decode(errors="replace").strip()
        raise ApiError(f"a command in {pod} failed: {complaint or 'without a word'}")
    return said[OUTPUT]


async def _ask(api: ClusterApi, address: str, limit: float) -> dict[int, bytes]:
    """All that is said until the status, by channel; no more of it than a little above ``MOST``."""
    said: dict[int, bytes] = {OUTPUT: b"", COMPLAINT: b"", STATUS: b""}
    async with (
        asyncio.timeout(limit),
        connect(
            address,
            ssl=api.tls,
            subprotocols=[PROTOCOL],
            proxy=None,  # the cluster is in the house: no proxy leads there
            open_timeout=min(limit, ANSWER_LIMIT),
            close_timeout=1,
            max_size=MOST,
        ) as socket,
    ):
        while not said[STATUS] and len(said[OUTPUT]) <= MOST:
            message = await socket.recv(decode=False)
            if message and message[0] in said:
                said[message[0]] += message[1:]
    return said


def _is_success(status: bytes) -> bool:
    try:
        return bool(json.loads(status).get("status") == "Success")
    except (ValueError, AttributeError):
        return False
