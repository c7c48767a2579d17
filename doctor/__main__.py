"""Check whether a stack can be deployed (read-only).

Exit codes: 0 no failure, 1 at least one failure, 2 wrong settings.
"""

from __future__ import annotations

import argparse
import sys

from clients.kubernetes.longhorn import Storage
from clients.pulumi_cli import certificate_ends, cli, passphrase, stack_settings, state
from clients.pulumi_cli.session import StackReader
from doctor import storage_record
from doctor.run import run_checks
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells: 128 + SIGINT."""


def main(arguments: list[str] | None = None) -> int:
    """Run the checks, print the findings and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m doctor", description=__doc__)
    parser.add_argument("--stack", default="homelab", help="name in Pulumi.NAME.yaml")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    reader = StackReader(cli.installed(), options.stack, PROJECT_FOLDER)

    def open_token() -> str:
        passphrase.ask_once(reader)
        return stack_settings.api_token(reader)

    def read_storage() -> Storage | None:
        kubeconfig = state.kubeconfig(reader) if reader.pulumi else None
        return storage_record.read_and_record(options.stack, PROJECT_FOLDER, kubeconfig)

    try:
        return run_checks(
            options.stack,
            PROJECT_FOLDER,
            cli=reader.pulumi,
            open_token=open_token,
            read_certificate_ends=lambda: certificate_ends.of(reader),
            read_storage=read_storage,
            read_talos_credentials=lambda: (
                state.talos_credentials(reader) if reader.pulumi else None
            ),
            as_json=options.json,
        )
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
