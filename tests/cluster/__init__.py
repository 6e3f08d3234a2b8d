"""A real Kubernetes on this machine, in namespaces of its own: one process, whose death ends it all."""
