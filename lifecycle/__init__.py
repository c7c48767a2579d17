"""Our own resources: what is looked after, changed or removed with care on a running cluster."""
