"""The dynamic resources of this program: steps that no provider offers, such as node upgrades."""
