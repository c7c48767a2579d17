"""Finds and runs the Pulumi CLI, and reads the state and settings of a stack through it."""
