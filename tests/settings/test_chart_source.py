"""The arguments of a Helm release for each kind of chart repository."""

from __future__ import annotations

from typing import Any

from settings.chart_source import ChartSource


def test_a_chart_comes_from_a_repository_a_registry_or_a_folder() -> None:
    def args(repository: str) -> dict[str, Any]:
        return ChartSource(name="traefik", version="41.3.0", repository=repository).release_args()

    web = "https://traefik.github.io/charts"
    assert args(web) == {
        "chart": "traefik",
        "version": "41.3.0",
        "repository_opts": {"repo": web},
    }
    assert args("oci://ghcr.io/traefik/helm")["chart"] == "oci://ghcr.io/traefik/helm/traefik"
    assert args("/srv/charts") == {"chart": "/srv/charts/traefik", "version": "41.3.0"}
