"""The order and the estimated times of a rehearsal."""

from __future__ import annotations

from itertools import pairwise

from rehearsal import timeline
from rehearsal.record import Recording, Resource, needs
from rehearsal.run import Rehearsal
from settings import resource_types


def test_up_starts_a_resource_after_its_dependencies(homelab: Rehearsal) -> None:
    order = [resource.urn for resource in timeline.order_up(homelab.recording)]
    known = homelab.recording.by_urn()
    seen: set[str] = set()
    for urn in order:
        missing = (needs(known[urn]) & known.keys()) - seen
        assert not missing, f"{urn} comes before {missing}"
        seen.add(urn)
    assert len(order) == len(homelab.recording.resources)


def test_up_starts_a_component_before_its_children(homelab: Rehearsal) -> None:
    order = [resource.urn for resource in timeline.order_up(homelab.recording)]
    for resource in homelab.recording.resources:
        if resource.parent in order:
            assert order.index(resource.parent) < order.index(resource.urn)


def test_down_is_the_reverse_of_up(homelab: Rehearsal) -> None:
    up = [resource.urn for resource in timeline.order_up(homelab.recording)]
    assert [resource.urn for resource in timeline.order_down(homelab.recording)] == up[::-1]


def test_a_resource_starts_when_its_last_dependency_ends(homelab: Rehearsal) -> None:
    known = homelab.recording.by_urn()
    for resource in homelab.recording.resources:
        if resource.custom:
            ends = [known[urn].end for urn in needs(resource) if urn in known]
            assert resource.start == max(ends, default=0)
            assert resource.end == resource.start + timeline.seconds(resource)


def test_a_component_spans_its_children(homelab: Rehearsal) -> None:
    components = [r for r in homelab.recording.resources if not r.custom]
    assert components
    for component in components:
        parts = [r for r in homelab.recording.resources if r.parent == component.urn]
        assert component.start == min(part.start for part in parts)
        assert component.end == max(part.end for part in parts)


def test_the_critical_path_has_no_gaps_and_ends_last(homelab: Rehearsal) -> None:
    path = timeline.critical_path(homelab.recording)
    assert path[0].start == 0
    assert all(before.end == after.start for before, after in pairwise(path))
    assert all(before.urn in needs(after) for before, after in pairwise(path))
    assert path[-1].end == max(resource.end for resource in homelab.recording.resources)


def test_the_critical_path_leads_from_the_image_to_traefik(homelab: Rehearsal) -> None:
    chain = [
        resource_types.FILE,
        resource_types.MACHINE,
        resource_types.APPLY,
        resource_types.BOOTSTRAP,
        resource_types.READY,
    ]
    path = timeline.critical_path(homelab.recording)
    charts = {"longhorn", "traefik"}
    found = [
        resource.plain("name") if resource.plain("name") in charts else resource.type
        for resource in path
        if resource.type in chain or resource.plain("name") in charts
    ]
    assert found == [*chain, "longhorn", "traefik"]


def test_all_workers_start_at_the_same_time(homelab: Rehearsal) -> None:
    for type_ in (resource_types.MACHINE, resource_types.APPLY):
        workers = [r for r in homelab.recording.of_type(type_) if "-worker-" in r.name]
        assert len(workers) == 3
        assert len({worker.start for worker in workers}) == 1


def test_every_resource_has_a_duration(homelab: Rehearsal) -> None:
    """Providers, machine secrets and the resources below take no time in a first deployment."""
    instant = {"pulumi", resource_types.SECRETS.partition(":")[0]}
    lifecycle = {
        resource_types.NODE,
        resource_types.SNAPSHOT,
        resource_types.KUBERNETES_VERSION,
        resource_types.RECORD,
    }
    for resource in homelab.recording.resources:
        if resource.custom and not {resource.type.partition(":")[0], resource.type} & (
            instant | lifecycle
        ):
            assert timeline.seconds(resource) > 0, resource.type


def test_an_empty_recording_has_no_critical_path() -> None:
    assert timeline.critical_path(Recording()) == []
    assert timeline.order_up(Recording()) == []


def test_times_follow_from_dependencies() -> None:
    file = Resource(urn="file", type=resource_types.FILE, name="file")
    machine = Resource(urn="vm", type=resource_types.MACHINE, name="vm", dependencies=("file",))
    by_property = Resource(
        urn="config",
        type=resource_types.APPLY,
        name="config",
        property_dependencies={"node": ("vm",)},
    )
    alone = Resource(urn="alone", type=resource_types.MACHINE, name="alone")
    recording = Recording(resources=[file, machine, alone, by_property])
    timeline.lay_out(recording)
    assert [(r.start, r.end) for r in recording.resources] == [
        (0, 60),
        (60, 100),
        (0, 40),
        (100, 120),
    ]
    assert timeline.critical_path(recording) == [file, machine, by_property]
