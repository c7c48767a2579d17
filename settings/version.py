"""The version of this program. Every deployment records it; CHANGELOG.md lists its changes."""

VERSION = "0.1.0-dev"
"""A release has no suffix ``-dev``, and a heading in CHANGELOG.md."""
