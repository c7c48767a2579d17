"""``make up``: one preview, one question, one update, and nothing more if nothing changes.

The preview writes its events into the private folder of the run. They say whether anything would
change: if not, ``make up`` ends here. Otherwise the person is asked once, and the update runs
without a second preview.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from clients.pulumi_cli import event_log, failures
from clients.pulumi_cli.session import Session
from clients.pulumi_cli.state import STACK
from commands import last_up
from commands.ask import YES, confirmed

UPDATE_ONLY = frozenset({*YES, "--skip-preview", "--continue-on-error"})
"""Words of ``pulumi up`` that ``pulumi preview`` does not know."""
REFRESH = ("-r", "--refresh")
"""Words that let the engine compare its state with reality first, which may change the state
although nothing else changes."""


def up(
    session: Session, more: Sequence[str], project: Path, after: Callable[[Session], None]
) -> int:
    """Preview, ask and update; returns an exit code.

    ``more`` are words for the Pulumi CLI. ``after`` runs if the stack is as its file says, whether
    anything had to change or not.
    """
    if "--skip-preview" not in more:
        code = _preview(session, more)
        if code:
            return code
        if not _changes(session, more):
            print("Nothing to change.", flush=True)
            # What a failed run left undone was done by hand or is not wanted any more.
            last_up.settle(project, session.stack)
            after(session)
            return 0
        if not confirmed((), "Perform this update?", more):
            return 1
    words = [word for word in more if word not in YES | {"--skip-preview"}]
    flags = event_log.flags(session.temporary)
    code = session.run(["up"], ["--yes", "--skip-preview", *words, *flags], event_log.ENVIRONMENT)
    log = event_log.text(session.temporary)
    last_up.keep(log, project, session.stack)
    if code:
        _report_failures(log)
    else:
        after(session)
    return code


def has_changes(log: str) -> bool:
    """Whether a preview, by its event log, would change a resource or an output of the stack.

    True as well if the log has no summary: an update then shows what there is.
    """
    counts: dict[str, int] | None = None
    outputs = None
    for event in event_log.read(log):
        if summary := event.get("summaryEvent"):
            counts = summary.get("resourceChanges") or {}
        metadata = (event.get("resOutputsEvent") or {}).get("metadata") or {}
        if metadata.get("type") == STACK:
            outputs = [(metadata.get(side) or {}).get("outputs") for side in ("old", "new")]
    if counts is None or set(counts) - {"same"}:
        return True
    return outputs is not None and outputs[0] != outputs[1]


def _preview(session: Session, more: Sequence[str]) -> int:
    words = [word for word in more if word not in UPDATE_ONLY]
    flags = event_log.flags(session.temporary, "preview")
    code = session.run(["preview"], [*words, *flags], event_log.ENVIRONMENT)
    if code:
        _report_failures(event_log.text(session.temporary, "preview"))
    return code


def _changes(session: Session, more: Sequence[str]) -> bool:
    refreshes = any(word.partition("=")[0] in REFRESH for word in more)
    return refreshes or has_changes(event_log.text(session.temporary, "preview"))


def _report_failures(log: str) -> None:
    for line in failures.told(log):
        print(line, flush=True)
