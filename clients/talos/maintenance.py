"""Checks whether a node is in Talos' maintenance mode: booted, but without a machine config.

In this mode the Talos API answers without a client certificate; with a config it requires one. The
Talos provider makes the same check (siderolabs/terraform-provider-talos pkg/talos/util.go
talosClientOp).
"""

from __future__ import annotations

import socket
import ssl

from clients.talos import machine_api

CONNECT_TIMEOUT_S = 2.0
"""Seconds to connect to a node in the local network."""
_DISKS = "/storage.StorageService/Disks"


def look(address: str, limit: float = CONNECT_TIMEOUT_S) -> bool | None:
    """Whether the node at ``address`` is in maintenance mode; ``None`` if nothing answers."""
    try:
        with socket.create_connection((address, machine_api.PORT), timeout=limit):
            pass
    except OSError:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        machine_api.call(address, context, _DISKS)
    except machine_api.TalosCallError:
        return False
    return True
