"""A real Kubernetes on this machine, in namespaces of its own: one process takes all with it."""
