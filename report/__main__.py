"""Write the report of a stack as an HTML page.

Exit codes: 0 no problem, 1 a provider would refuse a resource (the page shows it), 2 wrong settings
and no page, 3 the page could not be written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rehearsal.run import rehearse
from report import gather, page
from report.model import as_json
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or print the JSON object, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m report", description=__doc__)
    parser.add_argument("--stack", default="homelab", help="name in Pulumi.NAME.yaml")
    parser.add_argument("--json", action="store_true", help="print one JSON object, write no page")
    parser.add_argument("--output", type=Path, help="path of the page (default: report-NAME.html)")
    options = parser.parse_args(arguments)
    try:
        rehearsal = rehearse(options.stack)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    report = gather.build_report(rehearsal)
    if options.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        file = options.output or PROJECT_FOLDER / f"report-{options.stack}.html"
        try:
            file.write_text(page.render(report), encoding="utf-8")
        except OSError as error:
            fix = "Choose another path with --output."
            print(f"{file} could not be written: {error.strerror}. {fix}", file=sys.stderr)
            return 3
        print(f"Wrote {file}: open it in a browser.")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
