"""The pictures: complete, without overlap, nothing outside the picture."""

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


def pictures(rehearsal: Rehearsal, make_report: MakeReport) -> list[Picture]:
    report = make_report(rehearsal)
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


def test_all_shapes_are_inside_their_picture(make_report: MakeReport, any_stack: Rehearsal) -> None:
    for picture in pictures(any_stack, make_report):
        for shape in picture.shapes:
            if isinstance(shape, Box):
                assert shape.x >= 0 and shape.x + shape.width <= picture.width + 0.01
                assert shape.y >= 0 and shape.y + shape.height <= picture.height + 0.01
            elif isinstance(shape, Label):
                assert 0 <= shape.x <= picture.width and 0 <= shape.y <= picture.height


def test_no_two_boxes_overlap(make_report: MakeReport, any_stack: Rehearsal) -> None:
    for picture in pictures(any_stack, make_report):
        for style in ("card", "group", "node"):
            for one, other in combinations(boxes(picture, style), 2):
                apart = (
                    one.x + one.width <= other.x + 0.01
                    or other.x + other.width <= one.x + 0.01
                    or one.y + one.height <= other.y + 0.01
                    or other.y + other.height <= one.y + 0.01
                )
                assert apart, (picture.name, one, other)


def test_each_span_has_a_card_and_a_mark_on_the_bar(
    make_report: MakeReport, any_stack: Rehearsal
) -> None:
    report = make_report(any_stack)
    for picture in (network.wide(report.network), network.narrow(report.network)):
        for span in report.network.spans:
            assert boxes(picture, f"fill-{span.kind}")
            if span.kind != "ingress":
                assert span.first in texts(picture)
        assert report.network.ingress in picture.description


def test_a_span_is_drawn_to_scale(homelab: Rehearsal) -> None:
    picture = network.wide(addresses.build_network(homelab.settings))
    # The boxes of the same style on the cards have another height.
    dhcp = next(box for box in boxes(picture, "fill-dhcp") if box.height == network.BAR_THICKNESS)
    assert dhcp.x == pytest.approx(2 / 256 * picture.width)
    assert dhcp.width == pytest.approx(119 / 256 * picture.width)


@pytest.mark.parametrize(
    ("exposure", "words"),
    [("load-balancer", "Traefik at .240"), ("host-network", "API and ingress")],
)
def test_the_cards_name_the_ingress(exposure: str, words: str, vary: Vary) -> None:
    shown = addresses.build_network(vary({"traefik.exposure": exposure}).settings)
    assert words in texts(network.wide(shown))
    assert words in texts(network.narrow(shown))


def test_the_bar_is_vertical_if_the_cards_do_not_fit_side_by_side(vary: Vary) -> None:
    overrides = {f"worker-{n}": {"address": f"192.168.1.{150 + 4 * n}"} for n in range(1, 9)}
    found = vary({"nodes.workers.count": 8, "nodes.overrides": overrides})
    shown = addresses.build_network(found.settings)
    assert network.wide(shown).width == network.NARROW
    assert len(boxes(network.wide(shown), "card")) == 6 + 8 + 1  # and the internet


def test_the_graph_has_all_components_and_types(
    make_report: MakeReport, any_stack: Rehearsal
) -> None:
    report = make_report(any_stack)
    for picture in (graph.wide(report.components), graph.narrow(report.components)):
        assert len(boxes(picture, "group")) == len(report.components)
        assert len(boxes(picture, "node")) == sum(len(c.resources) for c in report.components)
        for component in report.components:
            assert component.name in texts(picture)
            assert component.name in picture.description


def points(line: Line) -> list[tuple[float, float]]:
    """Points on an arrow, which is a curve or several straight lines."""
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


def test_no_arrow_crosses_another_component(make_report: MakeReport, any_stack: Rehearsal) -> None:
    for picture in pictures(any_stack, make_report)[2:]:
        arrows = [s for s in picture.shapes if isinstance(s, Line) and s.style == "edge-outer"]
        assert len(arrows) == sum(len(c.needs) for c in make_report(any_stack).components)
        for arrow in arrows:
            for x, y in points(arrow):
                assert 0 <= x <= picture.width
                for box in boxes(picture, "group"):
                    inside_x = box.x + 1 < x < box.x + box.width - 1
                    assert not (inside_x and box.y + 1 < y < box.y + box.height - 1)


def test_nodes_on_the_critical_path_are_framed(make_report: MakeReport, homelab: Rehearsal) -> None:
    report = make_report(homelab)
    picture = graph.wide(report.components)
    framed = [box for box in boxes(picture, "node") if "critical" in box.style]
    assert len(framed) == sum(r.critical for c in report.components for r in c.resources) > 5
    assert len(framed) < len(boxes(picture, "node"))


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=10))
def test_spread_keeps_order_distance_and_bounds(wanted: list[float]) -> None:
    wanted.sort()
    placed = spread(wanted, 100, 0, 1000)
    assert all(after - before >= 100 - 1e-6 for before, after in pairwise(placed))
    assert placed[0] >= 50 - 1e-6 and placed[-1] <= 950 + 1e-6


def test_spread_does_not_move_items_that_do_not_overlap() -> None:
    assert spread([100, 300, 800], 100, 0, 1000) == [100, 300, 800]


def test_cut_shortens_a_text_that_is_too_long() -> None:
    assert cut("control-plane-1", 1000) == "control-plane-1"
    assert cut("control-plane-1", 60).endswith("…")
    assert len(cut("control-plane-1", 60)) < 15
