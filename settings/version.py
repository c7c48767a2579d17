"""The version of this program. Every deployment records it; CHANGELOG.md says what it contains."""

VERSION = "0.1.0-dev"
"""Without ``-dev`` in a release, which has a heading of its own in CHANGELOG.md."""
