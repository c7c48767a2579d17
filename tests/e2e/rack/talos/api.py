"""Calls to a machine: which procedure, of which machines, and what is written down.

The metadata ``nodes`` asks several machines for one message each, ``node`` asks one machine
through another, and neither asks the machine that was dialled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from grpc import StatusCode

from ..faults import Fault, Faults, Kind
from ..request_log import Request, RequestLog
from .machine import Machine
from .messages import cosi, talos
from .procedures import Procedures
from .refusal import RefusalError

if TYPE_CHECKING:
    from .simulator import TalosSimulator

Answer = Callable[[Machine, Any], Awaitable[Any]]
Answers = Callable[[Machine, Any], AsyncIterator[Any]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = Any  # grpc.aio.ServicerContext, whose type parameters are of no use here

_IN_MAINTENANCE = frozenset(
    [
        "ApplyConfiguration",
        "Disks",
        "Dmesg",
        "EtcdAlarmList",
        "EtcdMemberList",
        "EtcdStatus",
        "Events",
        "Get",
        "List",
        "Memory",
        "Read",
        "Reset",
        "ServiceList",
        "Version",
        "Watch",
    ]
)
"""The procedures that need no client certificate in maintenance (facts/talos-real.md)."""


class MachineApi:
    """Answers for one machine, and for others of its cluster when it is asked to."""

    def __init__(
        self,
        machine: Machine,
        simulator: TalosSimulator,
        requests: RequestLog,
        faults: Faults,
    ) -> None:
        self._machine = machine
        self._simulator = simulator
        self._requests = requests
        self._faults = faults

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """List the services for a gRPC server."""
        do, t, c = Procedures(self._simulator), talos, cosi
        apply, members = "ApplyConfiguration", "EtcdMemberList"
        remove = "EtcdRemoveMemberByID"
        services: dict[str, list[tuple[str, Handler]]] = {
            "machine.MachineService": [
                self._messages(apply, t.ApplyConfigurationRequest, do.apply_configuration),
                self._messages("Bootstrap", t.BootstrapRequest, do.bootstrap),
                self._messages(members, t.EtcdMemberListRequest, do.etcd_members),
                self._messages("EtcdAlarmList", t.Empty, do.etcd_alarms),
                self._messages("EtcdLeaveCluster", t.Empty, do.etcd_leave),
                self._messages(remove, t.EtcdRemoveMemberByIDRequest, do.etcd_remove),
                self._messages("EtcdStatus", t.Empty, do.etcd_status),
                self._upload("EtcdRecover", t.Data, do.etcd_recover),
                self._stream("Dmesg", t.DmesgRequest, do.dmesg),
                self._messages("ImagePull", t.ImagePullRequest, do.image_pull),
                self._stream("EtcdSnapshot", t.Empty, do.etcd_snapshot),
                self._stream("Events", t.EventsRequest, do.events),
                self._stream("Kubeconfig", t.Empty, do.kubeconfig),
                self._messages("Memory", t.Empty, do.memory),
                self._stream("Read", t.ReadRequest, do.read),
                self._messages("Reboot", t.RebootRequest, do.reboot),
                self._messages("Reset", t.ResetRequest, do.reset),
                self._messages("ServiceList", t.Empty, do.services),
                self._messages("Upgrade", t.UpgradeRequest, do.upgrade),
                self._messages("Version", t.Empty, do.version),
            ],
            "machine.ImageService": [self._stream("Pull", t.PullRequest, do.pull)],
            "machine.LifecycleService": [self._stream("Upgrade", t.InstallRequest, do.install)],
            "storage.StorageService": [self._messages("Disks", t.Empty, do.disks)],
            "cosi.resource.State": [
                self._single("Get", c.GetRequest, do.get_resource),
                self._stream("List", c.ListRequest, do.list_resources),
                self._stream("Watch", c.WatchRequest, do.watch_resources),
            ],
        }
        return [
            grpc.method_handlers_generic_handler(service, dict(procedures))
            for service, procedures in services.items()
        ]

    def _messages(self, name: str, request: Any, answer: Answer) -> tuple[str, Handler]:
        """Make a procedure whose response has one message for each machine that is asked."""
        response = getattr(talos, f"{name}Response")

        async def behaviour(message: Any, context: Context) -> Any:
            nodes = self._begin(name, context)["nodes"]
            fault = await self._meet_faults(name, context)
            if not nodes:
                machine = await self._target(name, context)
                only = response(messages=[await _guarded(context, answer(machine, message))])
                await self._cut_after(fault)
                return only
            reply = response()
            for node in nodes:
                part = reply.messages.add()
                try:
                    part.MergeFrom(await answer(self._reach(name, node), message))
                except RefusalError as error:
                    part.metadata.error = error.text
                    part.metadata.status.code = error.code.value[0]
                    part.metadata.status.message = error.text
                part.metadata.hostname = node
            await self._cut_after(fault)
            return reply

        return name, grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, _serialize)

    def _single(self, name: str, request: Any, answer: Answer) -> tuple[str, Handler]:
        """Make a procedure that asks one machine and answers once."""

        async def behaviour(message: Any, context: Context) -> Any:
            self._begin(name, context)
            fault = await self._meet_faults(name, context)
            machine = await self._target(name, context)
            only = await _guarded(context, answer(machine, message))
            await self._cut_after(fault)
            return only

        return name, grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, _serialize)

    def _stream(self, name: str, request: Any, answers: Answers) -> tuple[str, Handler]:
        """Make a procedure that asks one machine and answers many times."""

        async def behaviour(message: Any, context: Context) -> AsyncIterator[Any]:
            self._begin(name, context)
            fault = await self._meet_faults(name, context)
            machine = await self._target(name, context)
            try:
                async for answer in answers(machine, message):
                    await self._cut_after(fault)
                    yield answer
            except RefusalError as error:
                await context.abort(error.code, error.text)

        return name, grpc.unary_stream_rpc_method_handler(behaviour, request.FromString, _serialize)

    def _upload(self, name: str, request: Any, answer: Answer) -> tuple[str, Handler]:
        """Make a procedure that takes many messages and answers once."""
        response = getattr(talos, f"{name}Response")

        async def behaviour(messages: Any, context: Context) -> Any:
            self._begin(name, context)
            fault = await self._meet_faults(name, context)
            machine = await self._target(name, context)
            only = response(messages=[await _guarded(context, answer(machine, messages))])
            await self._cut_after(fault)
            return only

        return name, grpc.stream_unary_rpc_method_handler(behaviour, request.FromString, _serialize)

    def _begin(self, name: str, context: Context) -> dict[str, list[str]]:
        metadata = _metadata(context)
        parameters = {key: ",".join(values) for key, values in metadata.items() if values}
        self._requests.append(
            Request(api="talos", method=name, path=self._machine.address, parameters=parameters)
        )
        return metadata

    async def _meet_faults(self, name: str, context: Context) -> Fault | None:
        """Let a call go wrong before anything is done, or say that it shall afterwards."""
        fault = await self._faults.meet("talos", name, self._machine.address)
        if fault is None or fault.kind is Kind.CUT_AFTER:
            return fault
        if fault.kind is Kind.CUT:
            await self._simulator.cut(self._machine)
        late = fault.kind is Kind.TIMED_OUT
        code = StatusCode.DEADLINE_EXCEEDED if late else StatusCode.UNAVAILABLE
        await context.abort(code, fault.reason)
        raise AssertionError("abort never returns")

    async def _cut_after(self, fault: Fault | None) -> None:
        if fault is not None:
            await self._simulator.cut(self._machine)

    async def _target(self, name: str, context: Context) -> Machine:
        nodes = _metadata(context)["node"]
        try:
            return self._reach(name, nodes[0] if nodes else self._machine.address)
        except RefusalError as error:
            await context.abort(error.code, error.text)
            raise  # not reached: abort never returns

    def _reach(self, name: str, address: str) -> Machine:
        """Find the machine that is meant; only a control plane passes calls on to others."""
        if address != self._machine.address:
            return self._pass_on(address)
        if self._machine.config is None and name not in _IN_MAINTENANCE:
            raise RefusalError(StatusCode.PERMISSION_DENIED, "not authorized")
        return self._machine

    def _pass_on(self, address: str) -> Machine:
        if self._machine.config is None or not self._machine.is_control_plane:
            raise RefusalError(StatusCode.PERMISSION_DENIED, "no request forwarding")
        target = self._simulator.machines.get(address)
        if (
            target is None
            or target.config is None
            or not target.config.shares_authority_with(self._machine.config)
        ):
            text = f"connection error: transport: Error while dialing {address}:50000"
            raise RefusalError(StatusCode.UNAVAILABLE, text)
        return target


def _metadata(context: Context) -> dict[str, list[str]]:
    """Return whom the call is for."""
    pairs = [(str(key), str(value)) for key, value in context.invocation_metadata() or ()]
    return {key: [v for k, v in pairs if k == key] for key in ("node", "nodes")}


async def _guarded(context: Context, answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except RefusalError as error:
        await context.abort(error.code, error.text)
        raise  # not reached: abort never returns


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())
