"""``PatientApi`` repeats a request while the API is down, but not after a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from clients.kubernetes import patient_api
from clients.kubernetes.api import ApiError, ClusterApi
from clients.kubernetes.patient_api import PatientApi


class Answers:
    """Returns or raises the answers in order; repeats the last one."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, *_: Any) -> Any:
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def patient_api_with(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> tuple[PatientApi, Answers]:
    found = Answers(*answers)
    monkeypatch.setattr(ClusterApi, "_request", found)
    monkeypatch.setattr(patient_api, "_PAUSE_S", 0)
    return object.__new__(PatientApi), found


def test_a_request_is_repeated_until_the_api_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    no_answer, overloaded = ApiError("does not answer"), ApiError("unavailable", 503)
    patient, answers = patient_api_with(monkeypatch, no_answer, overloaded, {"kind": "Node"})
    assert patient.get("/api/v1/nodes/worker-1") == {"kind": "Node"}
    assert answers.calls == 3


def test_a_refused_request_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    patient, answers = patient_api_with(monkeypatch, ApiError("forbidden", 403))
    with pytest.raises(ApiError, match="forbidden"):
        patient.post("/api/v1/pods", {})
    assert answers.calls == 1


def test_a_request_for_a_missing_object_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    patient, answers = patient_api_with(monkeypatch, ApiError("not found", 404))
    assert patient.get("/api/v1/nodes/worker-9") is None
    assert answers.calls == 1


def test_the_last_error_is_raised_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_api, "RETRY_TIMEOUT_S", 0)
    patient, _ = patient_api_with(monkeypatch, ApiError("does not answer"))
    with pytest.raises(ApiError, match="does not answer"):
        patient.get("/api/v1/nodes/worker-1")
