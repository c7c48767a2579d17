"""The source of a Helm chart: a repository on the network, or a local folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from settings.charts import Chart


@dataclass(frozen=True, kw_only=True)
class ChartSource:
    """A Helm chart with its exact version and its repository."""

    name: str
    """Name of the chart in its repository."""
    version: str
    """Exact version, because chart values differ between versions: Traefik's chart 41 rejects
    ``logs.general.level``, which chart 40 accepts."""
    repository: str
    """URL of the repository (``https://`` or ``oci://``), or a local folder of charts."""

    @classmethod
    def of(cls, name: str, chart: Chart) -> ChartSource:
        """The source of the chart ``name`` according to its settings group."""
        return cls(name=name, version=chart.chart_version, repository=chart.chart_repository)

    def release_args(self) -> dict[str, Any]:
        """Arguments of a Helm ``Release`` for this chart."""
        if self.repository.startswith("oci://"):
            return {"chart": f"{self.repository}/{self.name}", "version": self.version}
        if "://" in self.repository:
            return {
                "chart": self.name,
                "version": self.version,
                "repository_opts": {"repo": self.repository},
            }
        return {"chart": f"{self.repository}/{self.name}", "version": self.version}
