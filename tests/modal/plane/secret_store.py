"""Secrets: those of the workspace are the test's to give, those of an app come with it."""

from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.modal.plane.rpc import Ids, missing, reply


class Secrets:
    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.named: dict[str, dict[str, str]] = {}
        self.values: dict[str, dict[str, str]] = {}
        self.names: dict[str, str] = {}

    def SecretGetOrCreate(self, request: Any) -> Any:
        name, secret_id = request.deployment_name, self._ids.new("st")
        if request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP:
            self.values[secret_id] = dict(request.env_dict)
        elif name not in self.named:
            raise missing(f"Secret '{name}'")
        elif lacking := [key for key in request.required_keys if key not in self.named[name]]:
            message = f"Secret '{name}' is missing key(s): {', '.join(lacking)}"
            raise GRPCError(Status.INVALID_ARGUMENT, message)
        else:
            self.values[secret_id], self.names[secret_id] = self.named[name], name
        metadata = api_pb2.SecretMetadata(name=name, keys=[*self.values[secret_id]])
        return reply("SecretGetOrCreate", secret_id=secret_id, metadata=metadata)
