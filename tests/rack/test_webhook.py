"""The stand-in for MetalLB's webhook, where its port is not free at first."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import lab
from tests.e2e.rack.kubernetes import webhook
from tests.e2e.rack.kubernetes.client import KubernetesClient

ADDRESS = "127.77.9.1"


class Ready(KubernetesClient):
    """A cluster in which the controller's pod is ready."""

    def __init__(self) -> None:
        pass

    async def get(self, path: str) -> dict[str, Any]:
        return {"spec": {"clusterIP": ADDRESS}}

    async def list(self, path: str) -> list[dict[str, Any]]:
        return [{"endpoints": [{"conditions": {"ready": True}}]}] if "endpoint" in path else []


async def test_it_tries_again_where_it_could_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = webhook.MetallbWebhook(tmp_path, delay=0)
    with socket.socket() as other:
        other.bind((ADDRESS, 0))
        other.listen()
        monkeypatch.setattr(webhook, "PORT", other.getsockname()[1])
        for _ in range(2):
            with pytest.raises(OSError, match="in use"):
                await stand_in.follow(Ready())
    await stand_in.follow(Ready())
    with socket.create_connection((ADDRESS, webhook.PORT), timeout=10):
        pass
    await stand_in.stop()


def test_who_may_not_listen_is_told_what_lets_him(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("socket.socket.bind", refuse)
    told = "this user may not listen on port 443: sudo sysctl -w net.ipv4.ip_unprivileged_port"
    assert told in lab.may_not_listen()
