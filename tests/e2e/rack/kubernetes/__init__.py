"""A real Kubernetes control plane for each bootstrapped cluster, with simulated nodes.

The API server, etcd, controller manager and scheduler are the real programs; kwok plays the
kubelets, and stand-ins do what MetalLB and Longhorn would. No container runs.
"""
