"""The HTML page: one file without external requests.

Its content security policy allows only the embedded style sheet, by its hash: no script, image,
font or connection.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from report import timeline
from report.model import Report, as_json

MARK_INTERVALS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
"""Possible intervals between two marks of the timeline's scale, in seconds."""
MAX_MARKS = 6
"""Maximum number of intervals between marks on the timeline's scale."""


def render(report: Report) -> str:
    """Render the page of a report."""
    environment = Environment(
        loader=PackageLoader("report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = as_json(report)

    def number(path: str, form: str = "plain") -> Markup:
        """A ``<data>`` element with the value at a path of ``--json``, and its formatted text."""
        value = _value_at(numbers, path)
        text = FORMS[form](value)
        return Markup('<data value="{}" data-path="{}">{}</data>').format(value, path, text)

    environment.globals["number"] = number
    environment.filters |= FORMS
    style = Markup(environment.get_template("style.css").render())  # noqa: S704 - our own file
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        report=report,
        style=style,
        digest=digest,
        rows=timeline.build_rows(report.timeline),
        marks=marks(report.timeline.seconds),
        largest=_largest(report),
    )


def marks(seconds: float) -> list[int]:
    """The marks of a timeline of this length, in seconds from its start."""
    step = next((s for s in MARK_INTERVALS_S if seconds / s <= MAX_MARKS), MARK_INTERVALS_S[-1])
    return list(range(0, int(seconds) + 1, step))


def _largest(report: Report) -> dict[str, int]:
    """The values that correspond to bars of full width; at least 1."""
    machines = [machine for host in report.hosts for machine in host.machines]
    disks = [machine.os_disk_gib + (machine.data_disk_gib or 0) for machine in machines]
    return {
        "host_memory": max([1, *(host.memory_mib for host in report.hosts)]),
        "host_disk": max([1, *(host.disk_gib for host in report.hosts)]),
        "memory": max([1, *(machine.memory_mib for machine in machines)]),
        "disk": max([1, *disks]),
        "data_disk": max([1, *(node.data_disk_gib for node in report.storage.nodes)]),
    }


def _value_at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _gib(mib: int) -> str:
    """Format MiB as GiB: ``8 GiB``, ``1.5 GiB``."""
    return f"{mib / 1024:.1f}".removesuffix(".0") + " GiB"


def _size(gib: float) -> str:
    """Format GiB with at most one decimal: ``43 GiB``, ``38.6 GiB``."""
    return f"{gib:.1f}".removesuffix(".0") + " GiB"


def _duration(seconds: float) -> str:
    """Format seconds: ``8 min 28 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _took(seconds: float) -> str:
    """Format the duration of an operation. Pulumi's event log has a resolution of one second."""
    return "under 1 s" if seconds < 1 else _duration(seconds)


def _when(moment: datetime) -> Markup:
    """A ``<time>`` element with date and time."""
    text = moment.strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), text)


def _day(moment: datetime) -> Markup:
    """A ``<time>`` element with the date."""
    text = moment.strftime("%Y-%m-%d")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), text)


def _part(value: float, whole: float) -> str:
    """The percentage of ``value`` in ``whole``, between 0 % and 100 %, for a bar."""
    return f"{min(1.0, max(0.0, value / whole if whole else 0.0)) * 100:.2f}%"


FORMS: dict[str, Any] = {
    "plain": escape,
    "gib": _gib,
    "size": _size,
    "duration": _duration,
    "took": _took,
    "when": _when,
    "day": _day,
    "part": _part,
}
"""Formats of values on the page, by name."""
