"""Tests of lifecycle/operations."""
