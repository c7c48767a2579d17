"""Runs the real ``__main__.py`` with no engine, no hardware and no connection.

It answers as the providers would, refuses what they are known to refuse, keeps the graph that it
saw, and tells. It never pretends to be the engine: there is no state and no diff.
"""
