"""Runs the real Pulumi CLI for ``make``, with a private temporary folder that is wiped.

Nothing here is needed for plain ``pulumi up``; docs/engine.md says how to do the same by hand.
"""
