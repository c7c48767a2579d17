"""Tests of clients/pulumi_cli."""
