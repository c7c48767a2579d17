"""The pictures: nothing leaves them, nothing covers another, nothing is left out."""

from __future__ import annotations

import re
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.run import Rehearsal
from report import network as addresses
from report.drawing import Box, Label, Line, Picture, cut, spread
from report.pictures import graph, network
from tests.rehearsal.conftest import Vary
from tests.report.conftest import MakeReport


def pictures(found: Rehearsal, make_report: MakeReport) -> list[Picture]:
    report = make_report(found)
    return [
        network.wide(report.network),
        network.narrow(report.network),
        graph.wide(report.components),
        graph.narrow(report.components),
    ]


def boxes(picture: Picture, *styles: str) -> list[Box]:
    return [
        shape
        for shape in picture.shapes
        if isinstance(shape, Box) and shape.style.split()[0] in styles
    ]


def texts(picture: Picture) -> str:
    return " | ".join(shape.text for shape in picture.shapes if isinstance(shape, Label))


def test_nothing_leaves_a_picture(make_report: MakeReport, any_castle: Rehearsal) -> None:
    for picture in pictures(any_castle, make_report):
        for shape in picture.shapes:
            if isinstance(shape, Box):
                assert shape.x >= 0 and shape.x + shape.width <= picture.width + 0.01
                assert shape.y >= 0 and shape.y + shape.height <= picture.height + 0.01
            elif isinstance(shape, Label):
                assert 0 <= shape.x <= picture.width and 0 <= shape.y <= picture.height


def test_nothing_covers_another(make_report: MakeReport, any_castle: Rehearsal) -> None:
    for picture in pictures(any_castle, make_report):
        for style in ("card", "group", "node"):
            for one, other in combinations(boxes(picture, style), 2):
                apart = (
                    one.x + one.width <= other.x + 0.01
                    or other.x + other.width <= one.x + 0.01
                    or one.y + one.height <= other.y + 0.01
                    or other.y + other.height <= one.y + 0.01
                )
                assert apart, (picture.name, one, other)


def test_every_owner_has_a_card_and_a_place_on_the_line(
    make_report: MakeReport, any_castle: Rehearsal
) -> None:
    report = make_report(any_castle)
    for picture in (network.wide(report.network), network.narrow(report.network)):
        for span in report.network.spans:
            assert boxes(picture, f"fill-{span.kind}")
            if span.kind != "ingress":
                assert span.first in texts(picture)
        assert report.network.ingress in picture.description


def test_a_span_lies_where_its_addresses_are(homelab: Rehearsal) -> None:
    picture = network.wide(addresses.of(homelab.settings))
    # The boxes of a kind that mark its card are of another height.
    dhcp = next(box for box in boxes(picture, "fill-dhcp") if box.height == network.LINE)
    assert dhcp.x == pytest.approx(2 / 256 * picture.width)
    assert dhcp.width == pytest.approx(119 / 256 * picture.width)


@pytest.mark.parametrize(
    ("exposure", "words"),
    [("load-balancer", "Traefik at .240"), ("host-network", "API and ingress")],
)
def test_the_way_in_ends_at_the_ingress(exposure: str, words: str, vary: Vary) -> None:
    shown = addresses.of(vary({"traefik.exposure": exposure}).settings)
    assert words in texts(network.wide(shown))
    assert words in texts(network.narrow(shown))


def test_more_owners_than_fit_side_by_side_stand_one_below_the_other(vary: Vary) -> None:
    overrides = {f"worker-{n}": {"address": f"192.168.1.{150 + 4 * n}"} for n in range(1, 9)}
    found = vary({"nodes.workers.count": 8, "nodes.overrides": overrides})
    shown = addresses.of(found.settings)
    assert network.wide(shown).width == network.NARROW
    assert len(boxes(network.wide(shown), "card")) == 6 + 8 + 1  # and the internet


def test_the_graph_holds_each_component_and_each_kind(
    make_report: MakeReport, any_castle: Rehearsal
) -> None:
    report = make_report(any_castle)
    for picture in (graph.wide(report.components), graph.narrow(report.components)):
        assert len(boxes(picture, "group")) == len(report.components)
        assert len(boxes(picture, "node")) == sum(len(c.resources) for c in report.components)
        for component in report.components:
            assert component.name in texts(picture)
            assert component.name in picture.description


def points(line: Line) -> list[tuple[float, float]]:
    """Points along an arrow: of a curve, or of straight pieces."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", line.d)]
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    steps = [n / 20 for n in range(21)]
    if "C" in line.d:
        weights = [((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3) for t in steps]
        return [
            (
                sum(w * x for w, (x, _) in zip(weight, corners, strict=True)),
                sum(w * y for w, (_, y) in zip(weight, corners, strict=True)),
            )
            for weight in weights
        ]
    return [
        (x1 + (x2 - x1) * t, y1 + (y2 - y1) * t)
        for (x1, y1), (x2, y2) in pairwise(corners)
        for t in steps
    ]


def test_no_arrow_between_components_crosses_a_third(
    make_report: MakeReport, any_castle: Rehearsal
) -> None:
    for picture in pictures(any_castle, make_report)[2:]:
        arrows = [s for s in picture.shapes if isinstance(s, Line) and s.style == "edge-outer"]
        assert len(arrows) == sum(len(c.needs) for c in make_report(any_castle).components)
        for arrow in arrows:
            for x, y in points(arrow):
                assert 0 <= x <= picture.width
                for box in boxes(picture, "group"):
                    inside_x = box.x + 1 < x < box.x + box.width - 1
                    assert not (inside_x and box.y + 1 < y < box.y + box.height - 1)


def test_the_critical_path_is_framed(make_report: MakeReport, homelab: Rehearsal) -> None:
    report = make_report(homelab)
    picture = graph.wide(report.components)
    framed = [box for box in boxes(picture, "node") if "critical" in box.style]
    assert len(framed) == sum(r.critical for c in report.components for r in c.resources) > 5
    assert len(framed) < len(boxes(picture, "node"))


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=10))
def test_what_is_spread_keeps_its_order_its_room_and_its_bounds(wanted: list[float]) -> None:
    wanted.sort()
    placed = spread(wanted, 100, 0, 1000)
    assert all(after - before >= 100 - 1e-6 for before, after in pairwise(placed))
    assert placed[0] >= 50 - 1e-6 and placed[-1] <= 950 + 1e-6


def test_what_has_room_stays_where_it_wants_to_be() -> None:
    assert spread([100, 300, 800], 100, 0, 1000) == [100, 300, 800]


def test_a_text_that_is_too_long_is_cut() -> None:
    assert cut("control-plane-1", 1000) == "control-plane-1"
    assert cut("control-plane-1", 60).endswith("…")
    assert len(cut("control-plane-1", 60)) < 15
