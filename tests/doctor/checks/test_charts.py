"""Charts in a registry, in a repository and in a folder."""

from __future__ import annotations

import email.message
import io
import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from doctor import web
from doctor.checks.charts import _check_chart
from doctor.findings import Result
from settings.chart_source import ChartSource

CHART = ChartSource(name="traefik", version="41.3.0", repository="oci://registry.test/charts")


CHART_TYPE = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


class Registry:
    """A fake public registry, which requires an anonymous token."""

    def __init__(self, *tags: str, has_blobs: bool = True) -> None:
        self.tags = tags
        self.has_blobs = has_blobs
        self.requests: list[str] = []

    def fetch(self, url: str, headers: Any = None) -> bytes:
        self.requests.append(url)
        if url.startswith("https://auth.test/token?"):
            return json.dumps({"token": "anonymous"}).encode()
        if (headers or {}).get("Authorization") != "Bearer anonymous":
            challenge = 'Bearer realm="https://auth.test/token",service="r",scope="pull"'
            raise self._refusal(url, 401, {"WWW-Authenticate": challenge})
        _, kind, name = url.rsplit("/", 2)
        if kind == "blobs" and self.has_blobs:
            assert headers["Range"] == "bytes=0-0"
            return b"1"
        if kind == "blobs" or name not in self.tags:
            raise self._refusal(url, 404, {})
        layers = [{"mediaType": "other", "digest": "a"}, {"mediaType": CHART_TYPE, "digest": "b"}]
        return json.dumps({"layers": layers}).encode()

    def _refusal(self, url: str, code: int, headers: dict[str, str]) -> Exception:
        message = email.message.Message()
        for name, value in headers.items():
            message[name] = value
        return urllib.error.HTTPError(url, code, "no", message, io.BytesIO())


def test_a_chart_in_a_registry_is_found_with_an_anonymous_token() -> None:
    registry = Registry("41.3.0")
    (finding,) = _check_chart(CHART, "traefik", registry.fetch)
    assert finding.result is Result.OK
    assert registry.requests == [
        "https://registry.test/v2/charts/traefik/manifests/41.3.0",
        "https://auth.test/token?service=r&scope=pull",
        "https://registry.test/v2/charts/traefik/manifests/41.3.0",
        "https://registry.test/v2/charts/traefik/blobs/b",
    ]


def test_a_chart_version_missing_in_a_registry_is_a_failure() -> None:
    (finding,) = _check_chart(CHART, "traefik", Registry("41.2.0").fetch)
    assert finding.result is Result.FAILURE and "is not in oci://" in finding.text


def test_a_chart_whose_archive_is_gone_from_a_registry_is_a_failure() -> None:
    (finding,) = _check_chart(CHART, "traefik", Registry("41.3.0", has_blobs=False).fetch)
    assert finding.result is Result.FAILURE
    assert "its archive is gone: https://registry.test/v2/charts/traefik/blobs/b" in finding.text


def test_a_registry_that_refuses_is_a_failure() -> None:
    def refuse(url: str, headers: Any = None) -> bytes:
        raise Registry()._refusal(url, 403, {})

    (finding,) = _check_chart(CHART, "traefik", refuse)
    assert "it answers 403 no" in finding.text


NO_URL = b"entries: {traefik: [{version: 41.3.0, urls: []}]}"


def test_an_invalid_index_is_a_failure() -> None:
    chart = ChartSource(name="traefik", version="41.3.0", repository="https://charts.test")
    for text in (b"<html>", b"{", b"entries: []", b"entries: {traefik: [{}]}", NO_URL):
        (finding,) = _check_chart(chart, "traefik", lambda url, headers=None, text=text: text)
        assert finding.result is Result.FAILURE and "cannot be found, because" in finding.text


@pytest.mark.parametrize(("version", "result"), [("41.3.0", Result.OK), ("41.2.9", Result.WARNING)])
def test_another_chart_version_in_a_folder_is_a_warning(
    tmp_path: Path, version: str, result: Result
) -> None:
    (tmp_path / "traefik").mkdir()
    (tmp_path / "traefik" / "Chart.yaml").write_text(f"version: {version}")
    chart = ChartSource(name="traefik", version="41.3.0", repository=str(tmp_path))
    (finding,) = _check_chart(chart, "traefik", web.fetch)
    assert finding.result is result


@pytest.mark.parametrize(
    ("repository", "listed", "archive"),
    [
        ("https://charts.test/stable/", "t.tgz", "https://charts.test/stable/t.tgz"),
        ("https://charts.test/stable", "https://cdn.test/t.tgz", "https://cdn.test/t.tgz"),
    ],
)
def test_the_address_of_an_archive_may_be_relative(
    repository: str, listed: str, archive: str
) -> None:
    chart = ChartSource(name="traefik", version="41.3.0", repository=repository)
    requests: list[str] = []

    def fetch(url: str, headers: Any = None) -> bytes:
        requests.append(url)
        return f"entries: {{traefik: [{{version: v41.3.0, urls: ['{listed}']}}]}}".encode()

    (finding,) = _check_chart(chart, "traefik", fetch)
    assert finding.result is Result.OK
    assert requests == ["https://charts.test/stable/index.yaml", archive]
