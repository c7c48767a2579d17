"""The Kubernetes API, and the objects of what runs on it."""
