"""The settings of one stack: read once, typed, frozen, and checked before anything is touched.

``load`` turns the stack's configuration into ``Settings`` or raises one ``SettingsError`` that
names everything that is wrong. All rules here need no hardware and no network; what only the
hardware can tell (is a VM id free?) is asked by ``survey.py``.
"""

from settings.load import load
from settings.models import Settings
from settings.plan import Node, Role
from settings.problems import Problem, SettingsError
from settings.running import RunningMachine, RunningStack

__all__ = [
    "Node",
    "Problem",
    "Role",
    "RunningMachine",
    "RunningStack",
    "Settings",
    "SettingsError",
    "load",
]
