"""Rehearse a stack, or with ``--from`` compare it with an older stack file.

Exit codes: 0 no problem, 1 the rehearsal found problems, 2 the settings are wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from rehearsal import show_change
from rehearsal.change import rehearse_change
from rehearsal.run import rehearse
from rehearsal.show import as_json, show
from settings.problems import SettingsError


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__)
    parser.add_argument("--stack", default="homelab", help="stack name, as in Pulumi.NAME.yaml")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="older stack file")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    try:
        if options.source:
            return _print_change(options.stack, options.source, console, as_text=not options.json)
        rehearsal = rehearse(options.stack)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(as_json(rehearsal), indent=2))
    else:
        show(rehearsal, console)
    return 1 if rehearsal.problems else 0


def _print_change(stack: str, source: Path, console: Console, *, as_text: bool) -> int:
    change = rehearse_change(stack, source)
    if as_text:
        show_change.show(change, str(source), console)
    else:
        print(json.dumps(show_change.as_json(change), indent=2))
    return 1 if change.problems else 0


if __name__ == "__main__":
    sys.exit(main())
