"""``make rack``: a simulated rack to play with, and how to run the castle on it.

Writes ``Pulumi.rack.yaml``, which git ignores: the reference homelab on loopback addresses. Ctrl-C
ends the rack and takes the file away.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress

import yaml

from rehearsal.run import PROGRAM
from tests.e2e.lab import missing, on_rack, rack

STACK_FILE = PROGRAM / "Pulumi.rack.yaml"
NETWORK = 30
"""Third number of the stack's addresses: 127.0.30.x."""


def main() -> int:
    """Run a rack until Ctrl-C."""
    if absent := missing():
        print(f"The rack needs its tools; {absent}. See tests/e2e/README.md.", file=sys.stderr)
        return 1
    try:
        with rack("pve1", "pve2") as endpoints:
            config = on_rack(endpoints, f"127.0.{NETWORK}", ["pve1", "pve2"])
            STACK_FILE.write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
            print(
                f"A rack with the hosts pve1 and pve2 answers at {endpoints['endpoint']}.\n"
                "In another terminal:\n\n"
                f"  export PROXMOX_VE_API_TOKEN='{endpoints['api_token']}'\n"
                "  make up STACK=rack\n"
                "  make kubeconfig STACK=rack\n"
                "  make down STACK=rack\n\n"
                "Ctrl-C here ends the rack.",
                flush=True,
            )
            with suppress(KeyboardInterrupt):
                signal.pause()
    finally:
        STACK_FILE.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
