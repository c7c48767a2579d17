"""Functions that several components use to create Kubernetes objects and chart values."""
