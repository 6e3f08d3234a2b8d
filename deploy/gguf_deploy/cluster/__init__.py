"""A Kubernetes cluster: what its nodes have, and how a Deployment does on them."""

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]  # an object, as the API server writes it
