"""A patient client asks again while the Kubernetes API is away, and not when it says no."""

from __future__ import annotations

from typing import Any

import pytest

from clients.kubernetes import patient_api
from clients.kubernetes.api import ApiError, ClusterApi
from clients.kubernetes.patient_api import PatientApi


class Asked:
    """Answers in turn; the last one stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.times = 0

    def __call__(self, *_: Any) -> Any:
        self.times += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> tuple[PatientApi, Asked]:
    asked = Asked(*answers)
    monkeypatch.setattr(ClusterApi, "_ask", asked)
    monkeypatch.setattr(patient_api, "_PAUSE", 0)
    return object.__new__(PatientApi), asked


def test_an_api_that_comes_back_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    away, overloaded = ApiError("does not answer"), ApiError("unavailable", 503)
    patient, asked = ask(monkeypatch, away, overloaded, {"kind": "Node"})
    assert patient.get("/api/v1/nodes/worker-1") == {"kind": "Node"}
    assert asked.times == 3


def test_a_no_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    patient, asked = ask(monkeypatch, ApiError("forbidden", 403))
    with pytest.raises(ApiError, match="forbidden"):
        patient.post("/api/v1/pods", {})
    assert asked.times == 1


def test_what_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    patient, asked = ask(monkeypatch, ApiError("not found", 404))
    assert patient.get("/api/v1/nodes/worker-9") is None
    assert asked.times == 1


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_api, "PATIENCE", 0)
    patient, _ = ask(monkeypatch, ApiError("does not answer"))
    with pytest.raises(ApiError, match="does not answer"):
        patient.get("/api/v1/nodes/worker-1")
