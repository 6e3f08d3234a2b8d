"""Functions, as the client declares them."""

from typing import Any

from modal_proto import api_pb2

from tests.modal.plane.rpc import Ids, reply


class Functions:
    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.data: dict[str, Any] = {}

    def choices(self, name: str) -> list[Any]:
        """One definition for each GPU that would do, the first first."""
        [newest, *_] = [data for data in reversed(self.data.values()) if data.function_name == name]
        return [ranked.function for ranked in newest.ranked_functions]

    def id_of(self, name: str) -> str:
        ids = [each for each, data in self.data.items() if data.function_name == name]
        return ids[-1]

    def handle(self, function_id: str) -> Any:
        data = self.data[function_id]
        return api_pb2.FunctionHandleMetadata(
            function_name=data.function_name,
            function_type=data.function_type,
            web_url=data.web_url,
            definition_id=f"de-{function_id}",
            function_schema=data.function_schema,
            supported_input_formats=data.supported_input_formats,
            supported_output_formats=data.supported_output_formats,
        )

    def FunctionPrecreate(self, request: Any) -> Any:
        function_id = request.existing_function_id or self._ids.new("fu")
        data = api_pb2.FunctionData()
        _copy(request, data)
        self.data[function_id] = data
        handle = self.handle(function_id)
        return reply("FunctionPrecreate", function_id=function_id, handle_metadata=handle)

    def FunctionCreate(self, request: Any) -> Any:
        """A list of GPUs comes as ``function_data``, one definition each; else ``function``."""
        function_id, data = request.existing_function_id, api_pb2.FunctionData()
        if request.HasField("function_data"):
            data.CopyFrom(request.function_data)
        else:
            _copy(request.function, data)
            data.ranked_functions.add(rank=0, function=request.function)
        if data.webhook_config.type or data.HasField("http_config"):
            data.web_url = f"http://127.0.0.1/{data.function_name}"
        self.data[function_id] = data
        return reply(
            "FunctionCreate",
            function_id=function_id,
            function=data.ranked_functions[0].function,
            function_data=data,
            handle_metadata=self.handle(function_id),
        )


def _copy(source: Any, target: Any) -> None:
    """The fields that both have."""
    for field, value in source.ListFields():
        if field.name not in target.DESCRIPTOR.fields_by_name:
            continue
        if field.is_repeated:
            getattr(target, field.name).MergeFrom(value)
        elif field.message_type:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)
