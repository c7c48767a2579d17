"""``make rack``: a simulated rack for experiments, and how to deploy a stack to it.

Writes ``Pulumi.rack.yaml``, which git ignores: the reference homelab on loopback addresses. The
engine's state lies in a folder of the rack's own. Ctrl-C ends the rack and takes both away.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import suppress

import yaml

from commands import last_up
from doctor import storage_record
from settings.project import PROJECT_FOLDER
from tests.e2e.lab import HOME, missing, on_rack, rack

STACK_FILE = PROJECT_FOLDER / "Pulumi.rack.yaml"
NETWORK = 30
"""Third number of the stack's addresses: 127.0.30.x."""
_GUIDE = """\
A rack with the hosts pve1 and pve2 answers at {endpoint}.
Its page shows machines, disks, addresses and requests live: {page_url}
In another terminal:

  export PULUMI_BACKEND_URL='file://{folder}' PULUMI_CONFIG_PASSPHRASE='rack'
  export PROXMOX_VE_API_TOKEN='{api_token}'
  make up STACK=rack
  pulumi stack output kubeconfig --show-secrets --stack rack > {folder}/kubeconfig
  kubectl --kubeconfig {folder}/kubeconfig get nodes
  make down STACK=rack

Ctrl-C here ends the rack."""


def main() -> int:
    """Run a rack until Ctrl-C, or until the terminal is closed."""
    if absent := missing():
        print(f"The rack needs its tools; {absent}. See tests/e2e/README.md.", file=sys.stderr)
        return 1
    try:
        with (
            rack("pve1", "pve2") as endpoints,
            # The state of a rack that is gone must not meet the next one.
            tempfile.TemporaryDirectory(prefix="castle-rack-") as folder,
        ):
            config = on_rack(endpoints, f"127.0.{NETWORK}", ["pve1", "pve2"])
            config["ephemeral-castle:whoami"]["host"] = HOME
            STACK_FILE.write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
            print(_GUIDE.format(folder=folder, **endpoints), flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    finally:
        STACK_FILE.unlink(missing_ok=True)
        # What is known of a stack that is gone; the folder stays where anything else is in it.
        for record in (last_up, storage_record):
            record.file(PROJECT_FOLDER, "rack").unlink(missing_ok=True)
        with suppress(OSError):
            last_up.file(PROJECT_FOLDER, "rack").parent.rmdir()
    return 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
