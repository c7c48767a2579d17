"""Is a machine in Talos' maintenance mode: booted, without a machine config?

Then it answers whoever asks, without a certificate; one that has its config answers nobody without.
The talos provider tells them apart by the same call (facts/providers.md C0).
"""

from __future__ import annotations

import socket
import ssl

from clients.talos import machine_api

LIMIT = 2.0
"""Seconds that a machine of the same house has to answer."""
_DISKS = "/storage.StorageService/Disks"


def look(address: str, limit: float = LIMIT) -> bool | None:
    """Whether the machine at ``address`` waits for a config; None where nobody answers."""
    try:
        with socket.create_connection((address, machine_api.PORT), timeout=limit):
            pass
    except OSError:
        return None
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    try:
        machine_api.call(address, anyone, _DISKS)
    except machine_api.TalosCallError:
        return False
    return True
