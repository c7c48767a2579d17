"""Operations on a running cluster, and checks of its state. Nothing here depends on Pulumi."""
