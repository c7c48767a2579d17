"""A mock Pulumi monitor that records all requests and answers like the providers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime import mocks
from pulumi.runtime.proto import resource_pb2

from rehearsal import answers
from rehearsal.record import Invoke, Recording, Resource
from rehearsal.values import UNKNOWN, decode_struct, encode, reveal

STACK = "pulumi:pulumi:Stack"
READ_STATE = "pulumi:pulumi:readStackResourceOutputs"
"""The engine's function that ``preflight/state.py`` calls."""


class RecordingMonitor(mocks.MockMonitor):
    """Records each request with its inputs, dependencies, provider and options."""

    def __init__(
        self,
        project: str,
        stack: str,
        preview: bool = False,
        state: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """If ``preview`` is true, computed outputs are unknown, as in the first preview.

        ``state`` is the Pulumi state that the program reads: by URN the type and the outputs of
        each resource. By default the stack was never deployed.
        """
        # The base class needs mocks, but this class answers every request itself.
        super().__init__(mocks=None)  # type: ignore[arg-type]
        self.recording = Recording()
        self.unanswered: list[str] = []
        """A message for each request without a mock answer."""
        self.project = project
        self.stack = stack
        self.preview = preview
        self.state = state
        self._deleted_with: dict[str, str] = {}
        self._lock = threading.Lock()  # the SDK calls from several threads

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """Return a URN like the engine's, with the types of all parents except the stack."""
        above = parent.split("::")[2] if parent else STACK
        qualified = type_ if above == STACK else f"{above}${type_}"
        return f"urn:pulumi:{self.stack}::{self.project}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:
        """Record and answer a resource registration."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs: dict[str, Any] = decode_struct(request.object)
        resource = Resource(
            urn=urn,
            type=request.type,
            name=request.name,
            custom=request.custom,
            parent=request.parent or None,
            provider=request.provider.rpartition("::")[0] or None,
            dependencies=tuple(sorted(request.dependencies)),
            property_dependencies={
                name: tuple(sorted(sources.urns))
                for name, sources in sorted(request.propertyDependencies.items())
                if sources.urns
            },
            # In the real engine children inherit deletedWith from their component.
            deleted_with=request.deletedWith or self._deleted_with.get(request.parent),
            replace_with=tuple(request.replace_with),
            ignore_changes=tuple(request.ignoreChanges),
            replace_on_changes=tuple(request.replaceOnChanges),
            delete_before_replace=request.deleteBeforeReplace,
            retain_on_delete=request.retainOnDelete,
            hooks=_hooks(request),
            custom_timeouts=_timeouts(request),
            inputs=inputs,
        )
        if resource.deleted_with:
            self._deleted_with[urn] = resource.deleted_with
        if request.custom:
            resource.id, resource.outputs = self._answer(resource)
        with self._lock:
            self.recording.resources.append(resource)
        state = {**inputs, **resource.outputs}
        return resource_pb2.RegisterResourceResponse(urn=urn, id=resource.id, object=encode(state))

    def _answer(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        try:
            id_, outputs = answers.resource(resource.type, resource.name, reveal(resource.inputs))
        except answers.Unanswered as error:
            self.unanswered.append(str(error))
            return resource.name, {}
        if self.preview:
            return "", dict.fromkeys(outputs, UNKNOWN)
        return id_, outputs

    def Invoke(self, request: Any) -> Any:
        """Record and answer a call of a provider function."""
        args = decode_struct(request.args)
        if request.tok == READ_STATE:
            return _invoke_response({"name": args["stackName"], "outputs": dict(self.state)})
        with self._lock:
            self.recording.invokes.append(Invoke(token=request.tok, args=args))
        try:
            result = answers.invoke(request.tok, reveal(args))
        except answers.Unanswered as error:
            self.unanswered.append(str(error))
            result = {}
        return _invoke_response(result)

    def RegisterResourceOutputs(self, request: Any) -> Any:
        """Record the outputs of the stack or of a component."""
        outputs = decode_struct(request.outputs)
        if request.urn.split("::")[2] == STACK:
            self.recording.outputs = outputs
        else:
            with self._lock:
                self.recording.by_urn()[request.urn].outputs = outputs
        return empty_pb2.Empty()


def _invoke_response(result: dict[str, Any]) -> Any:
    # `return` is a keyword of Python, so it is passed in a dict.
    fields: dict[str, Any] = {"return": encode(result)}
    return resource_pb2.ResourceInvokeResponse(**fields)


def _hooks(request: Any) -> tuple[str, ...]:
    hooks = request.hooks
    events = hooks.DESCRIPTOR.fields_by_name
    return tuple(f"{event} {name}" for event in events for name in getattr(hooks, event))


def _timeouts(request: Any) -> dict[str, str]:
    timeouts = request.customTimeouts
    found = {name: getattr(timeouts, name) for name in ("create", "update", "delete")}
    return {name: timeout for name, timeout in found.items() if timeout}
