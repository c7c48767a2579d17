"""``make up``: one preview, one question, one update; only the preview if nothing changes.

The event log of the preview shows whether anything would change. The update then runs without a
second preview.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clients.pulumi_cli import event_log, failures
from clients.pulumi_cli.session import Session
from clients.pulumi_cli.state import STACK
from commands import last_up
from commands.ask import YES, confirmed

UPDATE_ONLY = frozenset({*YES, "--skip-preview", "--continue-on-error"})
"""Flags of ``pulumi up`` that ``pulumi preview`` does not accept."""
REFRESH = ("-r", "--refresh")
"""Flags that refresh the state first. A refresh may change the state even if the preview shows no
change, so the update always runs."""


def up(session: Session, cli_args: Sequence[str], after: Callable[[Session], None]) -> int:
    """Preview, ask and update; returns an exit code.

    ``cli_args`` are arguments of ``pulumi up``. ``after`` runs after a successful update and if
    there is nothing to change.
    """
    if "--skip-preview" not in cli_args:
        code = _preview(session, cli_args)
        if code:
            return code
        if not _needs_update(session, cli_args):
            print("Nothing to change.", flush=True)
            # The stack matches its file, so an earlier failure needs no recovery any more.
            last_up.mark_settled(session.project, session.stack)
            after(session)
            return 0
        if not confirmed((), "Perform this update?", cli_args):
            return 1
    args = [arg for arg in cli_args if arg not in YES | {"--skip-preview"}]
    flags = event_log.flags(session.temporary)
    code = session.run(["up"], ["--yes", "--skip-preview", *args, *flags], event_log.ENVIRONMENT)
    log = event_log.text(session.temporary)
    last_up.save_record(log, session.project, session.stack)
    if code:
        _report_failures(log)
    else:
        after(session)
    return code


def has_changes(log: str) -> bool:
    """Tell from a preview's event log whether a resource or an output of the stack would change.

    Returns True if the log has no summary, because then the result of the preview is unknown.
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


def _preview(session: Session, cli_args: Sequence[str]) -> int:
    args = [arg for arg in cli_args if arg not in UPDATE_ONLY]
    flags = event_log.flags(session.temporary, "preview")
    code = session.run(["preview"], [*args, *flags], event_log.ENVIRONMENT)
    if code:
        _report_failures(event_log.text(session.temporary, "preview"))
    return code


def _needs_update(session: Session, cli_args: Sequence[str]) -> bool:
    refreshes = any(arg.partition("=")[0] in REFRESH for arg in cli_args)
    return refreshes or has_changes(event_log.text(session.temporary, "preview"))


def _report_failures(log: str) -> None:
    for line in failures.told(log):
        print(line, flush=True)
