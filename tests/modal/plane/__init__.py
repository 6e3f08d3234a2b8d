"""Modal's control plane, as far as its real client and container runtime ask for it.

Written from the service descriptor in the client's own package. It records every call; one that
nobody here answers is ``unexpected`` and gets UNIMPLEMENTED, which the client does not try again.
It does not check what only Modal's servers check: quotas, regions, image builds, GPU names.
"""
