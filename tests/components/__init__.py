"""Tests of each component: the inputs that its providers would get."""
