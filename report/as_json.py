"""The report as one JSON object, with the same numbers as the page."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from report.model import Report


def as_json(report: Report) -> dict[str, Any]:
    """Convert the report to JSON types; docs/report.md documents the keys."""
    converted: dict[str, Any] = _convert(asdict(report))
    return converted


def _convert(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _convert(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_convert(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
