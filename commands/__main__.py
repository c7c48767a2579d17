"""``python -m commands COMMAND --stack NAME [-- ARGS]``: run one command for one stack.

``ARGS`` is passed to the Pulumi CLI unchanged, e.g. ``-- --yes``. Exit codes: that of the CLI; 2 if
the settings are wrong (the CLI has not been started); 3 if another run of this stack is active.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backup.private_file import write_private_file
from clients.kubernetes.longhorn import Storage
from clients.pulumi_cli import api_token, certificate_ends, cli, passphrase, state
from clients.pulumi_cli.kubeconfig import kubeconfig_of
from clients.pulumi_cli.private_folder import private_folder
from clients.pulumi_cli.session import Session, SessionError
from commands import age_key, backup
from commands.down import down
from commands.recover import cancel, recover, recover_if_needed
from commands.replicas import set_replicas
from commands.snapshot import snapshot
from commands.up import up
from doctor import storage_record
from doctor.run import run_checks
from settings import stack_file
from settings.load import TOKEN
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER

CLI_FOLDER = PROJECT_FOLDER / ".pulumi-cli"
CLI_COMMANDS = {
    "preview": ["preview"],
    "refresh": ["refresh"],
    # Without a value the CLI prompts for it and hides the input.
    "token": ["config", "set", "--secret", TOKEN],
}
"""Commands that only run the Pulumi CLI, with the CLI's own arguments."""
OWN_COMMANDS = ("up", "down", "recover", "cancel", "backup", "snapshot", "age-key", "replicas")
"""Commands that do more than the Pulumi CLI."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells define it (128 + SIGINT)."""
OUTPUT_FILES = ("kubeconfig", "talosconfig")
"""Commands that write the stack output of that name to a file, which Git ignores."""


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands", description=__doc__)
    parser.add_argument("command", choices=[*CLI_COMMANDS, *OWN_COMMANDS, *OUTPUT_FILES])
    parser.add_argument("--stack", default="homelab", help="NAME of Pulumi.NAME.yaml")
    parser.add_argument(
        "--skip-doctor", action="store_true", help="run up without the doctor (docs/doctor.md)"
    )
    all_arguments = sys.argv[1:] if arguments is None else arguments
    split = all_arguments.index("--") if "--" in all_arguments else len(all_arguments)
    options = parser.parse_args(all_arguments[:split])
    try:
        return _open_session(options, all_arguments[split + 1 :])
    except (KeyboardInterrupt, EOFError):
        # Ctrl-C or end of input at a question. While the CLI runs, Session.run handles Ctrl-C.
        print("\nStopped.", file=sys.stderr)
        return INTERRUPTED


def _open_session(options: argparse.Namespace, cli_args: Sequence[str]) -> int:
    """Find the stack file and the CLI, select the stack, and run the command."""
    try:
        # `pulumi stack select --create` would create a stack from a mistyped name.
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
        if options.command == "up" and not options.skip_doctor and (code := _run_doctor(session)):
            return code
        return _run_command(options.command, session, cli_args)


def _run_command(command: str, session: Session, cli_args: Sequence[str]) -> int:
    match command:
        case "up":
            return recover_if_needed(session, cli_args) or up(
                session, cli_args, PROJECT_FOLDER, _after_up
            )
        case "down":
            return down(session, cli_args)
        case "recover":
            return recover(session, cli_args)
        case "cancel":
            return cancel(session, cli_args)
        case "backup":
            return backup.run_backup(session)
        case "age-key":
            file = stack_file.find(session.stack, PROJECT_FOLDER)
            return age_key.create_key([str(session.pulumi)], file, session.environment)
        case "snapshot":
            return snapshot(session)
        case "replicas":
            return set_replicas(session, cli_args)
        case "kubeconfig" | "talosconfig":
            return _write_output(PROJECT_FOLDER / command, session)
        case _:
            return session.run(CLI_COMMANDS[command], cli_args)


def _run_doctor(session: Session) -> int:
    """Run the doctor's read-only checks before ``up``; returns 0 if no check fails."""

    def read_storage() -> Storage | None:
        kubeconfig = kubeconfig_of(session)
        return storage_record.read_and_record(session.stack, PROJECT_FOLDER, kubeconfig)

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
            "Nothing has been changed. `make doctor` shows all checks; `make up DOCTOR=no` skips "
            "them.",
            file=sys.stderr,
        )
    return code


def _after_up(session: Session) -> None:
    """Back up the certificates and print warnings about Longhorn's storage."""
    backup.after_up(session)
    storage_record.after_up(session, PROJECT_FOLDER)


def _write_output(file: Path, session: Session) -> int:
    """Write the stack output named like ``file`` to it; the file is created with mode 0600."""
    try:
        content = session.read(["stack", "output", file.name, "--show-secrets"])
    except SessionError as error:
        print(error, file=sys.stderr)
        return 1
    write_private_file(file, content)
    print(f"Wrote {file.name}. It gives full access to the cluster: do not share it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
