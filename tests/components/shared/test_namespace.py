"""Namespaces with a Pod Security level."""

from __future__ import annotations

from components.shared.objects import namespace_labels


def test_a_namespace_has_its_pod_security_level_in_all_three_modes() -> None:
    assert namespace_labels("privileged") == {
        "pod-security.kubernetes.io/enforce": "privileged",
        "pod-security.kubernetes.io/audit": "privileged",
        "pod-security.kubernetes.io/warn": "privileged",
    }
