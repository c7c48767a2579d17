"""``python -m engine COMMAND --stack NAME [-- MORE]``: run the Pulumi CLI for one stack.

``MORE`` goes to the CLI as it stands, e.g. ``-- --yes``. The exit code is the CLI's own; 2 where
the settings are wrong, before the CLI has been started; 3 where another run is at work.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clients.kubernetes.longhorn import Storage
from clients.pulumi_cli import api_token, certificate_ends, cli, passphrase, state
from clients.pulumi_cli.kubeconfig import kubeconfig_of
from clients.pulumi_cli.private_folder import private_folder
from clients.pulumi_cli.session import Session, SessionError
from commands import age_key, backup, staging_first
from commands.down import down
from commands.recover import cancel, recover, recover_if_needed
from commands.replicas import set_replicas
from commands.snapshot import snapshot
from commands.up import up
from doctor import cluster_storage
from doctor.visit import run_checks
from settings import stack_file
from settings.load import TOKEN
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER

CLI_FOLDER = PROJECT_FOLDER / ".pulumi-cli"
COMMANDS = {
    "preview": ["preview"],
    "refresh": ["refresh"],
    # Without a value the CLI asks for it, and does not show it.
    "token": ["config", "set", "--secret", TOKEN],
}
"""Our word for what the CLI does alone, and its own."""
OWN = ("up", "down", "recover", "cancel", "backup", "snapshot", "age-key", "replicas")
"""Our words for what the CLI does a part of."""
INTERRUPTED = 130
"""Exit code, as shells have it for a program that Ctrl-C ends."""
FILES = ("kubeconfig", "talosconfig")
"""What is written to a file of that name, which only its owner can read and git ignores."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command of the CLI for one stack, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, *OWN, *FILES])
    parser.add_argument("--stack", default="homelab", help="name in Pulumi.NAME.yaml")
    parser.add_argument(
        "--skip-doctor", action="store_true", help="up without looking first (docs/doctor.md)"
    )
    given = sys.argv[1:] if arguments is None else arguments
    split = given.index("--") if "--" in given else len(given)
    options, more = parser.parse_args(given[:split]), given[split + 1 :]
    try:
        return _begin(options, more)
    except (KeyboardInterrupt, EOFError):
        # At a question of ours, or while the CLI is asked for something.
        print("\nStopped.", file=sys.stderr)
        return INTERRUPTED


def _begin(options: argparse.Namespace, more: Sequence[str]) -> int:
    """Find the stack and the CLI, and do it in a folder of its own."""
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
        session = Session(pulumi, options.stack, folder)
        passphrase.ask_once(session.environment, file)
        if code := session.select():
            return code
        if options.command == "up" and not options.skip_doctor and (code := _look_first(session)):
            return code
        return _do(options.command, session, more)


def _do(command: str, session: Session, more: Sequence[str]) -> int:
    match command:
        case "up":
            if not staging_first.agreed(session, more):
                return 1
            return recover_if_needed(session, more) or up(session, more, PROJECT_FOLDER, _after_up)
        case "down":
            return down(session, more)
        case "recover":
            return recover(session, more)
        case "cancel":
            return cancel(session, more)
        case "backup":
            return backup.make(session)
        case "age-key":
            file = stack_file.find(session.stack, PROJECT_FOLDER)
            return age_key.make([str(session.pulumi)], file, session.environment)
        case "snapshot":
            return snapshot(session)
        case "replicas":
            return set_replicas(session, more)
        case "kubeconfig" | "talosconfig":
            return _write(PROJECT_FOLDER / command, session)
        case _:
            return session.run(COMMANDS[command], more)


def _look_first(session: Session) -> int:
    """Let the doctor look before anything is changed; 0 where nothing stands in the way."""

    def read_storage() -> Storage | None:
        kubeconfig = kubeconfig_of(session)
        return cluster_storage.read_and_record(session.stack, PROJECT_FOLDER, kubeconfig)

    def read_state() -> list[dict[str, Any]]:
        try:
            return session.deployment(secrets=True).get("resources") or []
        except SessionError as error:
            raise state.NoStateError(str(error)) from None

    try:
        code = run_checks(
            session.stack,
            PROJECT_FOLDER,
            cli=session.pulumi,
            open_token=lambda: api_token.of_session(session, PROJECT_FOLDER),
            read_certificate_ends=lambda: certificate_ends.of(PROJECT_FOLDER, read_state),
            read_storage=read_storage,
            brief=True,
        )
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if code:
        print(
            "Nothing has been changed. `make doctor` tells everything; `make up DOCTOR=no` goes on "
            "in spite of it.",
            file=sys.stderr,
        )
    return code


def _after_up(session: Session) -> None:
    """Keep the certificates, and say what is wrong with the storage, of a stack that is up."""
    backup.after_up(session)
    cluster_storage.after_up(session, PROJECT_FOLDER)


def _write(file: Path, session: Session) -> int:
    """Write an output of the stack into a file that was never readable for others."""
    try:
        content = session.read(["stack", "output", file.name, "--show-secrets"])
    except SessionError as error:
        print(error, file=sys.stderr)
        return 1
    file.unlink(missing_ok=True)
    with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        output.write(content)
    print(f"Wrote {file.name}: it opens the whole cluster, keep it to yourself.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
