"""Every error a user can meet: the tree, and the stable ``code`` of each.

* KitError
  + RequestError                 the caller of one request gets it; the server goes on
    x InvalidRequest               invalid_request
    x UnsupportedParameter         unsupported_parameter
    x CrashingRequest              crashing_request
    x ContextLengthExceeded        context_length_exceeded
    x ChatTemplateError            chat_template_error
    x InvalidApiKey                invalid_api_key
    x NotFound                     not_found
    x ModelNotFound                model_not_found
    x MethodNotAllowed             method_not_allowed
    x RequestTimeout               request_timeout
    x RequestTooLarge              request_too_large
    x QueueFull                    queue_full
    x ModelLoading                 model_loading
    x EngineUnavailable            engine_unavailable
    x EngineDied                   engine_died
    x ServerDraining               server_draining
    x InternalError                internal_error
  + StartupError                 the command ends with it: one line and an exit code
    x SettingsError                invalid_settings       exit 2
    x ModelFileError               invalid_model_file     exit 3
    x LoadError                    load_failed            exit 4
    x CrashLoop                    crash_loop             exit 5
    x CannotListen                 cannot_listen          exit 6
    x ServerUnusable               server_unusable        exit 7
    + ModelUnavailable             such a model cannot be had; asking again will not help
      x RepositoryNotFound         repository_not_found   exit 8
      x RepositoryGated            repository_gated       exit 8
      x RevisionNotFound           revision_not_found     exit 8
      x NoModelFile                no_model_file          exit 8
      x SeveralModels              several_models         exit 8
      x QuantizationNotFound       quantization_not_found exit 8
      x IncompleteSplit            incomplete_split       exit 8
      x ModelTooLarge              model_too_large        exit 8
    + FetchFailed                  it did not work this time; what has arrived is kept
      x HubUnreachable             hub_unreachable        exit 9
      x NotFetched                 not_fetched            exit 9
      x BrokenDownload             broken_download        exit 9
      x FetchCrashed               fetch_crashed          exit 9
    + StorageError                 the model directory is no good
      x DiskFull                   disk_full              exit 10
      x StorageUnusable            storage_unusable       exit 10
    + PlanFailed                   where it could run is not known, or nowhere
      x DoesNotFit                 does_not_fit           exit 11
      x MeasurementFailed          measurement_failed     exit 11
      x InvalidPlan                invalid_plan           exit 11
    + ClusterError                 the Kubernetes cluster does not say what it was asked
      x ClusterUnreachable         cluster_unreachable    exit 12
      x ClusterForbids             cluster_forbids        exit 12
      x ClusterRefuses             cluster_refuses        exit 12
      x DeploymentNotFound         deployment_not_found   exit 12
    + RolloutError                 what the cluster was asked to run does not run as it should
      x NotWell                    not_well               exit 13
      x NothingToUndo              nothing_to_undo        exit 13
      x RollbackFailed             rollback_failed        exit 13

A message says what failed, on what, and what to do. HTTP statuses live in ``api/errors.py``.
"""

from typing import ClassVar


class KitError(Exception):
    """Root of all errors that are shown to a user as one line."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(KitError):
    """One request failed. ``param`` names the offending field, if there is one."""

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.param = param
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(RequestError):
    code = "invalid_request"


class UnsupportedParameter(RequestError):
    code = "unsupported_parameter"


class CrashingRequest(RequestError):
    code = "crashing_request"


class ContextLengthExceeded(RequestError):
    code = "context_length_exceeded"


class ChatTemplateError(RequestError):
    code = "chat_template_error"


class InvalidApiKey(RequestError):
    code = "invalid_api_key"


class NotFound(RequestError):
    code = "not_found"


class ModelNotFound(RequestError):
    code = "model_not_found"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"


class RequestTimeout(RequestError):
    code = "request_timeout"


class RequestTooLarge(RequestError):
    code = "request_too_large"


class QueueFull(RequestError):
    code = "queue_full"


class ModelLoading(RequestError):
    code = "model_loading"


class EngineUnavailable(RequestError):
    code = "engine_unavailable"


class EngineDied(RequestError):
    code = "engine_died"


class ServerDraining(RequestError):
    code = "server_draining"


class InternalError(RequestError):
    code = "internal_error"


class StartupError(KitError):
    """The process cannot go on; it ends with ``exit_code``."""

    exit_code: ClassVar[int] = 1


class SettingsError(StartupError):
    code = "invalid_settings"
    exit_code = 2


class ModelFileError(StartupError):
    code = "invalid_model_file"
    exit_code = 3


class LoadError(StartupError):
    code = "load_failed"
    exit_code = 4


class CrashLoop(StartupError):
    code = "crash_loop"
    exit_code = 5


class CannotListen(StartupError):
    code = "cannot_listen"
    exit_code = 6


class ServerUnusable(StartupError):
    """What a client verb was pointed at does not answer, or not as it should."""

    code = "server_unusable"
    exit_code = 7


class ModelUnavailable(StartupError):
    """Such a model cannot be had from this repository, or not by this user."""

    exit_code = 8


class RepositoryNotFound(ModelUnavailable):
    code = "repository_not_found"


class RepositoryGated(ModelUnavailable):
    code = "repository_gated"


class RevisionNotFound(ModelUnavailable):
    code = "revision_not_found"


class NoModelFile(ModelUnavailable):
    code = "no_model_file"


class SeveralModels(ModelUnavailable):
    code = "several_models"


class QuantizationNotFound(ModelUnavailable):
    code = "quantization_not_found"


class IncompleteSplit(ModelUnavailable):
    code = "incomplete_split"


class ModelTooLarge(ModelUnavailable):
    code = "model_too_large"


class FetchFailed(StartupError):
    """It did not work this time. What has arrived is kept, and the next attempt goes on there."""

    exit_code = 9


class HubUnreachable(FetchFailed):
    code = "hub_unreachable"


class NotFetched(FetchFailed):
    """Nothing verified is there, and the hub may not be asked."""

    code = "not_fetched"


class BrokenDownload(FetchFailed):
    """The bytes that came are not those that the hub's record promises."""

    code = "broken_download"


class FetchCrashed(FetchFailed):
    """The process that fetches was killed."""

    code = "fetch_crashed"


class StorageError(StartupError):
    """The model directory cannot take what it should."""

    exit_code = 10


class DiskFull(StorageError):
    code = "disk_full"


class StorageUnusable(StorageError):
    code = "storage_unusable"


class PlanFailed(StartupError):
    exit_code = 11


class DoesNotFit(PlanFailed):
    """The memory that is needed is more than there is."""

    code = "does_not_fit"


class MeasurementFailed(PlanFailed):
    """llama.cpp could not say how much memory a model needs."""

    code = "measurement_failed"


class InvalidPlan(PlanFailed):
    """A document that should be a ``Placement`` is none, or of another version or model."""

    code = "invalid_plan"


class ClusterError(StartupError):
    exit_code = 12


class ClusterUnreachable(ClusterError):
    code = "cluster_unreachable"


class ClusterForbids(ClusterError):
    code = "cluster_forbids"


class ClusterRefuses(ClusterError):
    """It understood, and will not: a rule of its own, or an object that is not valid."""

    code = "cluster_refuses"


class DeploymentNotFound(ClusterError):
    code = "deployment_not_found"


class RolloutError(StartupError):
    exit_code = 13


class NotWell(RolloutError):
    """What runs is not, or not yet, what should run."""

    code = "not_well"


class NothingToUndo(RolloutError):
    """There is no revision to go back to, or it is what runs."""

    code = "nothing_to_undo"


class RollbackFailed(RolloutError):
    """The revision that was gone back to does not answer."""

    code = "rollback_failed"


REQUEST_ERRORS = {cls.code: cls for cls in RequestError.__subclasses__()}


_GROUPS: tuple[type[StartupError], ...] = (StartupError, *StartupError.__subclasses__())
STARTUP_ERRORS: dict[str, type[StartupError]] = {
    cls.code: cls for group in _GROUPS for cls in group.__subclasses__() if not cls.__subclasses__()
}


def startup_error(code: str, message: str) -> StartupError:
    """The startup error with this ``code``, as a command of ours names it."""
    return STARTUP_ERRORS.get(code, StartupError)(message)


def request_error(code: str, message: str, param: str | None = None) -> RequestError:
    """The request error with this ``code``, as the engine names it on the wire."""
    return REQUEST_ERRORS.get(code, InternalError)(message, param=param)
