"""The settings of one stack: read once, typed, frozen, and checked before anything is touched.

``load.py`` turns the stack's configuration into ``models.Settings`` or raises one
``problems.SettingsError`` that names everything that is wrong. All rules here need no hardware and
no network; what only the hardware can tell (is a VM id free?) is asked by ``survey.py``.

This module imports nothing: a process of the dynamic providers needs ``plan.py`` alone, and would
wait for all models otherwise.
"""
