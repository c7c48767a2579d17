"""Tests of the rack itself: loopback only, no provider, no engine."""
