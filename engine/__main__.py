"""``python -m engine COMMAND --stack NAME [-- MORE]``: run the Pulumi CLI for one stack.

``MORE`` goes to the CLI as it stands, e.g. ``-- --yes``. The exit code is the CLI's own; 2 where
the settings are wrong, before the CLI has been started.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from engine import age_key, cli
from engine.private_folder import private_folder
from rehearsal import stack_file
from settings import SettingsError
from settings.load import TOKEN

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
CLI_FOLDER = PROJECT_FOLDER / ".pulumi-cli"
COMMANDS = {
    "preview": ["preview"],
    "up": ["up"],
    "refresh": ["refresh"],
    "down": ["destroy"],
    # Without a value the CLI asks for it, and does not show it.
    "token": ["config", "set", "--secret", TOKEN],
    "age-key": [],  # made by us, or looked at: age_key.py
    "cancel": ["cancel"],
    "kubeconfig": ["stack", "output", "kubeconfig", "--show-secrets"],
    "talosconfig": ["stack", "output", "talosconfig", "--show-secrets"],
}
"""Our word for each thing to do, and the CLI's."""
MACHINES = ["refresh", "--target", "**VmLegacy**"]
"""Compares the machines with what is really there, and nothing else: the cluster may be dead."""
FILES = ("kubeconfig", "talosconfig")
"""What is written to a file of that name, which only its owner can read and git ignores."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command of the CLI for one stack, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--stack", default="homelab", help="name in Pulumi.NAME.yaml")
    given = sys.argv[1:] if arguments is None else arguments
    split = given.index("--") if "--" in given else len(given)
    options, more = parser.parse_args(given[:split]), given[split + 1 :]
    try:
        # Selecting a stack makes it, and its file: a typo must not become a new stack.
        file = stack_file.find(options.stack, PROJECT_FOLDER)
        pulumi = cli.find(CLI_FOLDER)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except cli.NoCliError as error:
        print(error, file=sys.stderr)
        return 1
    with private_folder() as folder:
        environment = os.environ | {
            "TMPDIR": str(folder),
            "PATH": f"{pulumi.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        select = [str(pulumi), "stack", "select", "--create", options.stack]
        if code := _run(select, environment):
            return code
        if options.command == "age-key":
            return age_key.make([str(pulumi)], file, environment)
        if options.command == "down":
            _forget_lost_machines(
                [str(pulumi), *MACHINES, "--stack", options.stack], more, environment
            )
        command = [str(pulumi), *COMMANDS[options.command], "--stack", options.stack, *more]
        if options.command in FILES:
            return _write(PROJECT_FOLDER / options.command, command, environment)
        return _run(command, environment)


def _forget_lost_machines(look: list[str], more: list[str], environment: dict[str, str]) -> None:
    """Take machines that somebody deleted by hand out of the state: the provider stops at them.

    Where none is gone, nothing is said. Otherwise the CLI shows what it would forget, and asks.
    Should any of this fail, the destroy that follows says why.
    """
    quiet = [*look, "--preview-only", "--expect-no-changes", "--non-interactive"]
    done = subprocess.run(
        quiet, cwd=PROJECT_FOLDER, env=environment, capture_output=True, check=False
    )
    if done.returncode != 0:
        print("Some machines are not as the state has them; a look at them first.", flush=True)
        _run([*look, *more], environment)


def _write(file: Path, command: list[str], environment: dict[str, str]) -> int:
    """Write what a command prints into a file that was never readable for others."""
    done = subprocess.run(
        command, cwd=PROJECT_FOLDER, env=environment, stdout=subprocess.PIPE, check=False
    )
    if done.returncode == 0:
        file.unlink(missing_ok=True)
        with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
            output.write(done.stdout)
        print(f"Wrote {file.name}: it opens the whole cluster, keep it to yourself.")
    return done.returncode


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command in the foreground until it has ended, whatever we are told meanwhile.

    Ctrl-C reaches the CLI by itself, and it needs time to stop cleanly; other signals to end are
    handed on as one. Were we to go first, the folder would be wiped under its feet.
    """
    child = subprocess.Popen(command, cwd=PROJECT_FOLDER, env=environment)

    def hand_on(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            child.send_signal(signal.SIGINT)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, hand_on) for number in signals}
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
