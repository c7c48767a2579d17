"""Clients of all APIs and command line tools that the program uses."""
