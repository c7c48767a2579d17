"""Where a Helm chart comes from: a repository on the network, or a folder on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from settings.charts import Chart


@dataclass(frozen=True, kw_only=True)
class ChartSource:
    """A chart, pinned."""

    name: str
    """Name of the chart in its repository."""
    version: str
    """Exact version: values are valid for a range of versions only (facts/charts.md 2)."""
    repository: str
    """Address of the repository (``https://`` or ``oci://``), or a local folder of charts."""

    @classmethod
    def of(cls, name: str, chart: Chart) -> ChartSource:
        """The chart that the settings pin."""
        return cls(name=name, version=chart.chart_version, repository=chart.chart_repository)

    def release_args(self) -> dict[str, Any]:
        """The arguments of a Helm ``Release`` that name the chart."""
        if self.repository.startswith("oci://"):
            return {"chart": f"{self.repository}/{self.name}", "version": self.version}
        if "://" in self.repository:
            return {
                "chart": self.name,
                "version": self.version,
                "repository_opts": {"repo": self.repository},
            }
        return {"chart": f"{self.repository}/{self.name}", "version": self.version}
