"""The protobuf messages of the Talos and COSI APIs.

Only the fields that the provider reads or writes are declared; protobuf keeps silent about the
others. Enumerations are int32, which is the same on the wire. A field without a type is a string,
``*`` means repeated, and ``?`` that it is sent even when it is zero.
"""

from __future__ import annotations

import types
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TALOS = """
Empty
Metadata                    hostname:1 error:2 status:3:Status
Status                      code:1:int32 message:2
Data                        metadata:1:Metadata bytes:2:bytes
Disk                        size:1:uint64 model:2 device_name:3 serial:5 type:9:int32 \
system_disk:11:bool
Disks                       metadata:1:Metadata disks:2:Disk*
DisksResponse               messages:1:Disks*
ApplyConfigurationRequest   data:1:bytes mode:4:int32 dry_run:5:bool
ApplyConfiguration          metadata:1:Metadata warnings:2:string* mode:3:int32 mode_details:4
ApplyConfigurationResponse  messages:1:ApplyConfiguration*
BootstrapRequest            recover_etcd:1:bool recover_skip_hash_check:2:bool
Bootstrap                   metadata:1:Metadata
BootstrapResponse           messages:1:Bootstrap*
VersionInfo                 tag:1 sha:2 built:3 go_version:4 os:5 arch:6
PlatformInfo                name:1 mode:2
FeaturesInfo                rbac:1:bool
Version                     metadata:1:Metadata version:2:VersionInfo platform:3:PlatformInfo \
features:4:FeaturesInfo
VersionResponse             messages:1:Version*
Timestamp                   seconds:1:int64 nanos:2:int32
ServiceEvent                msg:1 state:2 ts:3:Timestamp
ServiceEvents               events:1:ServiceEvent*
ServiceHealth               unknown:1:bool healthy:2:bool last_message:3 last_change:4:Timestamp
ServiceInfo                 id:1 state:2 events:3:ServiceEvents health:4:ServiceHealth
ServiceList                 metadata:1:Metadata services:2:ServiceInfo*
ServiceListResponse         messages:1:ServiceList*
EtcdMemberListRequest       query_local:1:bool
EtcdMember                  id:2:uint64 hostname:3 peer_urls:4:string* client_urls:5:string* \
is_learner:6:bool
EtcdMembers                 metadata:1:Metadata legacy_members:2:string* members:3:EtcdMember*
EtcdMemberListResponse      messages:1:EtcdMembers*
MemInfo                     memtotal:1:uint64
Memory                      metadata:1:Metadata meminfo:2:MemInfo
MemoryResponse              messages:1:Memory*
ResetPartitionSpec          label:1 wipe:2:bool
ResetRequest                graceful:1:bool reboot:2:bool \
system_partitions_to_wipe:3:ResetPartitionSpec* user_disks_to_wipe:4:string* mode:5:int32
Reset                       metadata:1:Metadata actor_id:2
ResetResponse               messages:1:Reset*
EventsRequest               tail_events:1:int32 tail_id:2 tail_seconds:3:int32 with_actor_id:4
Any                         type_url:1 value:2:bytes
Event                       metadata:1:Metadata data:2:Any id:3 actor_id:4
TaskEvent                   task:1 action:2:int32
ReadRequest                 path:1
RebootRequest               mode:1:int32
Reboot                      metadata:1:Metadata actor_id:2
RebootResponse              messages:1:Reboot*
UpgradeRequest              image:1 preserve:2:bool stage:3:bool force:4:bool reboot_mode:5:int32
Upgrade                     metadata:1:Metadata ack:2 actor_id:3
UpgradeResponse             messages:1:Upgrade*
PullRequest                 image_ref:3
PullLayerProgress           status:1:int32 offset:3:int64 total:4:int64
PullProgress                layer_id:1 progress:2:PullLayerProgress
PullResponse                name:1:string? pull_progress:2:PullProgress
ImagePullRequest            namespace:1:int32 reference:2
ImagePull                   metadata:1:Metadata
ImagePullResponse           messages:1:ImagePull*
DmesgRequest                follow:1:bool tail:2:bool
InstallSource               image_name:1
InstallRequest              source:2:InstallSource
InstallProgress             message:1 exit_code:2:int32?
InstallResponse             progress:1:InstallProgress
SnapshotResponse            blob:3:bytes
EtcdRecover                 metadata:1:Metadata
EtcdRecoverResponse         messages:1:EtcdRecover*
EtcdAlarm                   metadata:1:Metadata
EtcdAlarmListResponse       messages:1:EtcdAlarm*
EtcdMemberStatus            db_size:2:int64 db_size_in_use:3:int64 leader:4:uint64 \
raft_index:5:uint64 raft_term:6:uint64 raft_applied_index:7:uint64 errors:8:string* \
is_learner:9:bool member_id:10:uint64
EtcdStatus                  metadata:1:Metadata member_status:2:EtcdMemberStatus
EtcdStatusResponse          messages:1:EtcdStatus*
EtcdLeaveCluster            metadata:1:Metadata
EtcdLeaveClusterResponse    messages:1:EtcdLeaveCluster*
EtcdRemoveMemberByIDRequest member_id:1:uint64
EtcdRemoveMemberByID        metadata:1:Metadata
EtcdRemoveMemberByIDResponse messages:1:EtcdRemoveMemberByID*
VolumeStatus                phase:1:int32 location:2 size:9:uint64
MachineStatusStatus         ready:1:bool
MachineStatus               stage:1:int32 status:2:MachineStatusStatus
ApiServerConfigSpec         image:1
ComponentConfigSpec         enabled:1:bool image:2
KubeletSpec                 image:1
TimeStatus                  synced:1:bool
ServiceSpec                 running:1:bool healthy:2:bool
MachineConfigSpec           yaml_marshalled:1:bytes
DiskSpec                    size:1:uint64 io_size:2:uint64 sector_size:3:uint64 readonly:4:bool \
model:5 serial:6 wwid:8 transport:11 rotational:12:bool dev_path:14 pretty_size:15
"""

_COSI = """
Timestamp      seconds:1:int64 nanos:2:int32
Metadata       namespace:1 type:2 id:3 version:4 owner:5 phase:6 created:7:Timestamp \
updated:8:Timestamp finalizers:9:string*
Spec           proto_spec:1:bytes yaml_spec:2
Resource       metadata:1:Metadata spec:2:Spec
GetRequest     namespace:1 type:2 id:3
GetResponse    resource:1:Resource
ListRequest    namespace:1 type:2
ListResponse   resource:1:Resource
WatchRequest   namespace:1 type:2 id:3 api_version:5:int32
WatchResponse  event:1:Event*
Event          resource:1:Resource event_type:2:int32 old:3:Resource error:4
"""


def _declare(package: str, table: str) -> Any:
    """Turn a table into message classes, each an attribute of the result."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"rack/{package}.proto", package=f"rack.{package}", syntax="proto3"
    )
    for line in filter(None, table.splitlines()):
        name, *fields = line.split()
        message = file.message_type.add(name=name)
        for field in fields:
            _declare_field(message, package, field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name], pool)
    return types.SimpleNamespace(**{c.DESCRIPTOR.name: c for c in classes.values()})


def _declare_field(message: descriptor_pb2.DescriptorProto, package: str, text: str) -> None:
    name, number, *rest = text.split(":")
    kind = rest[0] if rest else "string"
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
    kind = kind.removesuffix("*")
    if kind.endswith("?"):
        kind = kind.removesuffix("?")
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
        field.proto3_optional = True
    if kind[0].isupper():
        field.type = field.TYPE_MESSAGE
        field.type_name = f".rack.{package}.{kind}"
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


talos: Any = _declare("talos", _TALOS)
cosi: Any = _declare("cosi", _COSI)
