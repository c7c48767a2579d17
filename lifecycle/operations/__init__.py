"""What is done to a running cluster, and what is found wrong with it. Nothing here knows Pulumi."""
