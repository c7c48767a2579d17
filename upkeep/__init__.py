"""What is done to a living cluster, one node at a time: upgrade, power-cycle, take leave.

The resources that decide when live in ``components``; here is how. Nothing here knows Pulumi.
"""
