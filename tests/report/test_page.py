"""The page as a file: self-contained, well formed, with the numbers of JSON, without secrets."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from rehearsal.record import Refusal
from rehearsal.run import Rehearsal
from report import page
from report.model import Bar, Report, Timeline, as_json
from tests.report.certificates import NOW, state_of
from tests.report.conftest import MakeReport

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """A parsed page. The tags must be balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.values: dict[str, tuple[str, str]] = {}
        """Attribute ``value`` and text of each ``<data>`` element, by its path."""
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] != "style":
            self.texts.append(data)
        if self._open and self._open[-1][0] == "data":
            attributes = self._open[-1][1]
            self.values[attributes["data-path"]] = (attributes["value"], data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def full(
    make_report: MakeReport, homelab: Rehearsal, resources: list[dict[str, Any]]
) -> tuple[Report, list[str]]:
    """A report with all contents, and the secrets that it must not contain."""
    found, secrets = state_of(days=20)
    resources += found
    token = homelab.settings.proxmoxve.api_token.get_secret_value()
    prefix = "cmVoZWFyc2Fs"  # Each secret of the rehearsal begins with it.
    report = replace(
        make_report(homelab),
        made=NOW,
        problems=(Refusal(resource="traefik", message="would be refused"),),
    )
    return report, [*secrets, token, token.partition("=")[2], prefix]


def test_the_page_has_no_secret(full: tuple[Report, list[str]]) -> None:
    report, secrets = full
    text = page.render(report) + str(as_json(report))
    assert "kubeconfig" in text and "2026-12-11" in text
    assert [secret for secret in secrets if secret in text] == []


def test_the_page_makes_no_requests(full: tuple[Report, list[str]]) -> None:
    text = page.render(full[0])
    found = Page(text)
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "img", "iframe", "object", "embed", "use", "image", "base"}
    for _, attributes in found.tags:
        assert "src" not in attributes and "style" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:,"))
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "http://" not in text and "https://" not in text


def test_the_security_policy_allows_only_the_embedded_style(full: tuple[Report, list[str]]) -> None:
    text = page.render(full[0])
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    (policy,) = [m["content"] for m in Page(text).of("meta") if "http-equiv" in m]
    assert policy == f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"


def test_pictures_and_links_are_accessible(full: tuple[Report, list[str]]) -> None:
    found = Page(page.render(full[0]))
    assert found.of("html") == [{"lang": "en"}]
    assert len(found.of("h1")) == len(found.of("main")) == 1
    titles = 1 + len(full[0].network.spans) + len(full[0].timeline.bars)
    assert len(found.of("title")) == titles
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in found.of("a"):
        assert attributes["href"].removeprefix("#") in ids
    for attributes in found.of("svg"):
        hidden = attributes == {"width": "100%"}  # The scale; each row has its times as text.
        named = attributes.get("aria-label") or attributes.get("aria-labelledby")
        assert hidden or (attributes["role"] == "img" and named)
        for name in attributes.get("aria-labelledby", "").split():
            assert name in ids


def at(numbers: Any, path: str) -> Any:
    for part in path.split("."):
        numbers = numbers[int(part)] if isinstance(numbers, list) else numbers[part]
    return numbers


def test_the_numbers_are_those_of_json(full: tuple[Report, list[str]]) -> None:
    numbers = as_json(full[0])
    values = Page(page.render(full[0])).values
    assert {"totals.workers", "totals.memory_mib", "hosts.0.disk_gib"} <= set(values)
    assert {"certificates.found.0.days_left", "versions.1.version"} <= set(values)
    assert {f"hosts.0.machines.{n}.cores" for n in range(4)} <= set(values)
    for path, (value, _) in values.items():
        assert value == str(at(numbers, path))
    assert values["totals.memory_mib"] == ("28672", "28 GiB")
    assert values["timeline.seconds"] == ("526.0", "8 min 46 s")


def test_the_page_has_all_resources_addresses_and_notes(
    full: tuple[Report, list[str]], homelab: Rehearsal
) -> None:
    text = " ".join(Page(page.render(full[0])).texts)
    for resource in homelab.recording.resources:
        if resource.custom and not resource.type.startswith("pulumi:providers:"):
            assert resource.name in text
    for node in homelab.settings.machines:
        assert str(node.address) in text
    assert homelab.notes[0] in text
    assert "would be refused" in text


NASTY = "<script>alert('x')</script>&\"'</text></title>{{ 7 * 7 }}"


def test_html_in_names_is_escaped(full: tuple[Report, list[str]]) -> None:
    report = full[0]
    host = replace(report.hosts[0], name=NASTY)
    machine = replace(host.machines[0], name=NASTY, role=NASTY)
    span = replace(report.network.spans[0], name=NASTY, detail=NASTY)
    bar = replace(report.timeline.bars[0], name=NASTY, operation=NASTY)
    text = page.render(
        replace(
            report,
            stack=NASTY,
            cluster=NASTY,
            network=replace(
                report.network, host=NASTY, bridge=NASTY, spans=(span, *report.network.spans[1:])
            ),
            hosts=(replace(host, machines=(machine, *host.machines[1:])),),
            timeline=replace(report.timeline, bars=(bar, *report.timeline.bars[1:])),
            problems=(Refusal(resource=NASTY, message=NASTY),),
            notes=(NASTY,),
        )
    )
    found = Page(text)
    assert "script" not in {tag for tag, _ in found.tags}
    assert NASTY in found.texts
    assert "49" not in {data.strip() for data in found.texts}


def network_bar(text: str) -> list[dict[str, str]]:
    """The attributes of the parts of the bar of addresses."""
    svg = text.partition('<svg class="bars spans"')[2].partition("</svg>")[0]
    return Page(f"<svg{svg}</svg>").of("rect")


def test_each_use_of_addresses_is_on_the_bar_and_in_the_list(
    make_report: MakeReport, any_stack: Rehearsal
) -> None:
    report = make_report(any_stack)
    text = page.render(report)
    _, *items = text.partition('<ol class="spans">')[2].partition("</ol>")[0].split("<li")
    parts = network_bar(text)
    for span, item, part in zip(report.network.spans, items, parts, strict=True):
        assert f">{span.name}<" in item and span.first in item and span.last in item
        assert part["class"] == span.kind
        assert float(part["x"].rstrip("%")) <= 100


def test_the_bar_of_addresses_is_to_scale_and_shows_a_single_address(
    make_report: MakeReport, homelab: Rehearsal
) -> None:
    parts = {it["class"]: it for it in network_bar(page.render(make_report(homelab)))}
    assert (parts["dhcp"]["x"], parts["dhcp"]["width"]) == ("0.78%", "46.48%")
    assert (parts["vip"]["x"], parts["vip"]["width"]) == ("97.66%", "0.40%")
    # The ingress is inside the pool, which stays visible above and below it.
    assert int(parts["ingress"]["height"]) < int(parts["pool"]["height"])


def test_many_similar_operations_share_a_row(make_report: MakeReport, large: Rehearsal) -> None:
    text = page.render(make_report(large))
    assert "machines: 103 of type VmLegacy" in text
    (shared,) = [part for part in re.split("<li[ >]", text) if "103 of type VmLegacy" in part]
    assert shared.count("<rect") == 103
    assert text.count('<span class="name">machines-a-castle-of-a-long-name-worker-9</span>') == 1
    # One row each for VMs, node resources and machine configs.
    assert text.count("<details>") == 3


def test_the_timeline_names_the_last_up_and_its_failure(full: tuple[Report, list[str]]) -> None:
    bar = Bar(
        name="longhorn-release",
        component="longhorn",
        type="kubernetes:helm.sh/v3:Release",
        operation="update",
        start=3,
        end=3,
        critical=True,
        failed=True,
    )
    shown = Timeline(
        source="last up",
        begun=datetime(2026, 11, 20, 22, 5, tzinfo=UTC),
        succeeded=False,
        seconds=3,
        bars=(bar,),
    )
    text = " ".join(" ".join(Page(page.render(replace(full[0], timeline=shown))).texts).split())
    assert "2026-11-20 22:05 UTC" in text
    assert "3 s , failed. Source: Pulumi's event log" in text
    assert "longhorn-release update failed under 1 s" in text


def test_certificates_that_expire_soon_are_marked(full: tuple[Report, list[str]]) -> None:
    report = full[0]
    text = page.render(report)
    assert text.count('class="bad">') == len(report.certificates.found)
    valid = replace(report.certificates.found[0], days_left=200)
    certificates = replace(report.certificates, found=(valid,))
    assert 'class="bad">' not in page.render(replace(report, certificates=certificates))


def test_the_page_of_a_stack_without_a_state_says_so(
    make_report: MakeReport, homelab: Rehearsal
) -> None:
    text = " ".join(Page(page.render(make_report(homelab))).texts)
    assert "No certificates are known: the stack has no cluster yet." in text
    assert "No up has been recorded yet" in " ".join(text.split())


def test_each_valid_stack_file_has_a_page(make_report: MakeReport, any_stack: Rehearsal) -> None:
    text = page.render(make_report(any_stack))
    for node in any_stack.settings.machines:
        assert node.name in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, [0]), (1, [0, 1]), (23, [0, 5, 10, 15, 20]), (508, [0, 120, 240, 360, 480])],
)
def test_the_scale_has_round_marks(seconds: float, expected: list[int]) -> None:
    assert page.marks(seconds) == expected


@pytest.mark.parametrize("seconds", [7, 61, 3601, 90_000])
def test_the_scale_never_has_too_many_marks(seconds: float) -> None:
    assert 2 <= len(page.marks(seconds)) <= page.MAX_MARKS + 1


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("gib", 1536, "1.5 GiB"),
        ("gib", 8192, "8 GiB"),
        ("duration", 59, "59 s"),
        ("duration", 60, "1 min"),
        ("duration", 3660, "1 h 1 min"),
        ("took", 0, "under 1 s"),
        ("part", 200.0, "100.00%"),
    ],
)
def test_values_are_formatted(form: str, value: float, expected: str) -> None:
    arguments = (value, 100.0) if form == "part" else (value,)
    assert page.FORMS[form](*arguments) == expected
