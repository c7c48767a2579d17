"""Runs the real ``__main__.py`` with a mock monitor, and records the resource graph.

A rehearsal has no Pulumi engine, no state and no network access.
"""
