"""Does what the scheduler decided about the memory of slots."""

from gguf_server.engine.host import HostCache
from gguf_server.engine.operations import CopyPrefix, Operation, Restore, Save, Truncate
from gguf_server.engine.runner import Runner


class Mover:
    """Moves states between slots and host memory. Whatever fails costs time, never a request."""

    def __init__(self, runner: Runner, host: HostCache) -> None:
        self._runner = runner
        self._host = host

    def execute(self, operation: Operation) -> int | None:
        """Returns the slot that was left empty, if it failed."""
        match operation:
            case CopyPrefix(source, target, num_tokens):
                done = self._runner.copy_prefix(source, target, num_tokens)
            case Truncate(target, num_tokens):
                done = self._runner.truncate(target, num_tokens)
            case Restore():
                done = self._restore(operation)
            case Save():
                self.save(operation)
                return None
        return None if done else operation.target

    def save(self, operation: Save) -> None:
        """Does nothing where there is no room."""
        if not self._host.make_room(self._runner.state_bytes(operation.slot)):
            return
        state = self._runner.save(operation.slot)
        if state is not None:
            self._host.put(operation.tokens, state)

    def _restore(self, operation: Restore) -> bool:
        saved, num_tokens = operation.saved, operation.num_tokens
        if self._runner.restore(operation.target, saved.state, num_tokens):
            self._host.restored(num_tokens)
            return True
        self._host.failed(saved)
        return False
