"""Operations on a running cluster, and checks of its state. Nothing here depends on Pulumi.

An operation gets its inputs as ``props``, one mapping with string keys. ``lifecycle.node.flat``
lists the keys.
"""
