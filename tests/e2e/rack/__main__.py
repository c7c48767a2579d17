"""``python -m rack``: start a rack, say where it is, and run until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence

from .control import Control
from .kubernetes.programs import Programs, ProgramsMissingError
from .rack import Rack


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run a rack."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.rack", description=__doc__)
    parser.add_argument("--host", action="append", metavar="NAME", help="a Proxmox VE host")
    parser.add_argument("--address", default="127.0.0.1", help="where the APIs listen")
    parser.add_argument("--proxmox-port", type=int, default=0)
    parser.add_argument("--factory-port", type=int, default=0)
    parser.add_argument(
        "--kubernetes",
        metavar="FOLDERS",
        help="where etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok are;"
        " several as in PATH",
    )
    parser.add_argument(
        "--until-closed",
        action="store_true",
        help="end, too, when the standard input does: with whoever holds its other end",
    )
    parser.add_argument("--verbose", action="store_true", help="log what goes wrong in between")
    options = parser.parse_args(arguments)
    programs = None
    if options.kubernetes:
        try:
            programs = Programs.find(options.kubernetes)
        except ProgramsMissingError as error:
            parser.error(f"not in {options.kubernetes}: {error}")
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING)
    asyncio.run(_run(options, programs))


async def _run(options: argparse.Namespace, programs: Programs | None) -> None:
    # First of all: whoever ends it while it starts must find nothing left behind either.
    interrupted, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupted.set)
    if options.until_closed:
        loop.add_reader(sys.stdin.fileno(), _heed_end_of_input, interrupted)
    rack = Rack(
        options.host or ["pve"],
        address=options.address,
        proxmox_port=options.proxmox_port,
        factory_port=options.factory_port,
        kubernetes=programs,
    )
    control = Control(rack)
    async with rack:
        endpoints = {
            "endpoint": rack.endpoint,
            "api_token": rack.api_token,
            "ca_file": str(rack.ca_file),
            "factory_url": rack.factory_url,
            "page_url": rack.page_url,
            "control_url": await control.start(options.address),
        }
        sys.stdout.write(json.dumps(endpoints) + "\n")
        sys.stdout.flush()
        await interrupted.wait()
        await control.stop()


def _heed_end_of_input(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        ended.set()


if __name__ == "__main__":
    main()
