"""The wrapper around the real CLI, with a CLI of ours in its place."""
