"""The checks. Each is a function of a ``Context`` that yields findings."""
