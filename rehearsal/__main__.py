"""``python -m rehearsal --stack NAME [--json]``: rehearse a stack.

Exit codes: 0 nothing wrong, 1 the rehearsal found problems, 2 the settings are wrong.
"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from rehearsal.report import as_json
from rehearsal.run import rehearse
from rehearsal.show import show
from settings import SettingsError


def main(arguments: list[str] | None = None) -> int:
    """Rehearse, tell, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__)
    parser.add_argument("--stack", default="homelab", help="name in Pulumi.NAME.yaml")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        found = rehearse(options.stack)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        show(found, Console(highlight=False, width=None if sys.stdout.isatty() else 110))
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
