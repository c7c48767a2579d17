"""A snapshot of the real etcd behind the simulated one, as etcd itself streams it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from .messages import talos

_SNAPSHOT = "/etcdserverpb.Maintenance/Snapshot"


async def snapshot(address: str) -> AsyncIterator[bytes]:
    """Yield the snapshot's bytes, its checksum at the end."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryStreamMultiCallable[None, Any] = channel.unary_stream(
            _SNAPSHOT,
            request_serializer=lambda _: b"",
            response_deserializer=talos.SnapshotResponse.FromString,
        )
        async for part in call(None):
            yield part.blob
