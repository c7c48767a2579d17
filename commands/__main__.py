"""``python -m commands COMMAND --stack NAME [-- ARGS]``: run one command for one stack.

``ARGS`` is passed to the Pulumi CLI unchanged, e.g. ``-- --yes``. Exit codes: that of the CLI; 2 if
the settings are wrong (the CLI has not been started); 3 if another run of this stack is active.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from clients.kubernetes.longhorn import Storage
from clients.pulumi_cli import certificate_ends, cli, passphrase, stack_settings, state
from clients.pulumi_cli.private_folder import private_folder
from clients.pulumi_cli.session import PulumiError, Session
from commands import backup, state_backup, vms_in_state
from commands.age_key import create_key
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
from settings.state_files import write_private_file

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells define it (128 + SIGINT)."""


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
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
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2


def _open_session(options: argparse.Namespace, cli_args: Sequence[str]) -> int:
    """Find the stack file and the CLI, select the stack, and run the command."""
    # `pulumi stack select --create` would create a stack from a mistyped name.
    stack_file.find(options.stack, PROJECT_FOLDER)
    try:
        pulumi = cli.find()
    except cli.NoCliError as error:
        print(error, file=sys.stderr)
        return 1
    with private_folder() as folder:
        session = Session(pulumi, options.stack, folder, PROJECT_FOLDER)
        passphrase.ask_once(session)
        if code := session.select():
            return code
        if options.command == "up" and not options.skip_doctor and (code := _run_doctor(session)):
            return code
        return _run(options.command, session, cli_args)


def _run(name: str, session: Session, cli_args: Sequence[str]) -> int:
    """Run a command, and save a copy of the state if the command may have changed it."""
    code = 1
    try:
        code = COMMANDS[name](session, cli_args)
        return code
    finally:
        # An `up` without changes also saves a copy: there may be none yet.
        has_succeeded = name == "up" and code == 0
        if name in CHANGES_STATE and (session.may_have_changed_state or has_succeeded):
            state_backup.save(session, is_removed=name == "down" and code == 0)


def _run_doctor(session: Session) -> int:
    """Run the doctor's read-only checks before ``up``; returns 0 if no check fails."""

    def read_storage() -> Storage | None:
        kubeconfig = state.kubeconfig(session)
        return storage_record.read_and_record(session.stack, session.project, kubeconfig)

    code = run_checks(
        session.stack,
        session.project,
        cli=session.pulumi,
        open_token=lambda: stack_settings.api_token(session),
        read_certificate_ends=lambda: certificate_ends.of(session),
        read_storage=read_storage,
        read_talos_credentials=lambda: state.talos_credentials(session),
        brief=True,
    )
    if code:
        print(
            "Nothing has been changed. `make doctor` shows all checks; `make up DOCTOR=no` skips "
            "them.",
            file=sys.stderr,
        )
    return code


def _up(session: Session, cli_args: Sequence[str]) -> int:
    return (
        recover_if_needed(session, cli_args)
        or vms_in_state.prepare_up(session)
        or up(session, cli_args, _after_up)
    )


def _after_up(session: Session) -> None:
    """Back up the certificates and print warnings about Longhorn's storage."""
    backup.after_up(session)
    storage_record.after_up(session, session.project)


def _cli_command(*words: str) -> Callable[[Session, Sequence[str]], int]:
    """A command that only runs the Pulumi CLI, with the CLI's own arguments."""
    return lambda session, cli_args: session.run(words, cli_args)


def _write_output(name: str) -> Callable[[Session, Sequence[str]], int]:
    """A command that writes a stack output to a private file of that name, which Git ignores."""

    def write(session: Session, _: Sequence[str]) -> int:
        try:
            content = session.read(["stack", "output", name, "--show-secrets"])
        except PulumiError as error:
            print(error, file=sys.stderr)
            return 1
        write_private_file(session.project / name, content)
        print(f"Wrote {name}. It gives full access to the cluster: do not share it.")
        return 0

    return write


COMMANDS: dict[str, Callable[[Session, Sequence[str]], int]] = {
    "preview": _cli_command("preview"),
    "up": _up,
    "refresh": vms_in_state.refresh,
    "recover": recover,
    "cancel": cancel,
    "down": down,
    "backup": lambda session, _: backup.run_backup(session),
    "snapshot": lambda session, _: snapshot(session),
    "replicas": set_replicas,
    # Without a value the CLI prompts for it and hides the input.
    "token": _cli_command("config", "set", "--secret", TOKEN),
    "age-key": lambda session, _: create_key(session),
    "kubeconfig": _write_output("kubeconfig"),
    "talosconfig": _write_output("talosconfig"),
}
"""All commands. Each gets the session and the arguments of the CLI, and returns an exit code."""
CHANGES_STATE = frozenset({"up", "refresh", "recover", "down"})
"""The commands that change the Pulumi state."""


if __name__ == "__main__":
    sys.exit(main())
