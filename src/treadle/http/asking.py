"""Does operations as their callers may: the one way by which routes and pages ask the services."""

import typing
from typing import Any, NamedTuple, TypeVar, cast

from treadle.access.model import Caller
from treadle.events.model import EventRecord
from treadle.http.rights import Rights, demand, sight
from treadle.kernel.errors import Forbidden
from treadle.kernel.event import acting
from treadle.kernel.operation import Operation, operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import Services
from treadle.platform.wiring import Embedded

S = TypeVar("S")


class Asked(NamedTuple):
    """An operation that was asked for.

    Attributes:
        stage: The name of the service.
        operation: The operation.
        arguments: The arguments that were given, by name.
    """

    stage: str
    operation: Operation
    arguments: dict[str, Any]


class Asking:
    """Calls operations after the checks that their roles and what they name demand.

    Args:
        platform: The services that answer.
    """

    def __init__(self, platform: Embedded) -> None:
        self._platform = platform
        self._rights = Rights(platform)

    def admit(self, caller: Caller, operation: Operation) -> None:
        """Refuse who may call an operation nowhere, before the arguments are read.

        Args:
            caller: Who asks.
            operation: What is asked for.

        Raises:
            Forbidden: The caller holds the role nowhere, or brings code that is not confined.
        """
        if operation.everywhere or not caller.may_somewhere(operation.role):
            demand(caller, operation.role)
        if operation.brings_code:
            self._demand_for_code(caller)

    def permit(self, caller: Caller, operation: Operation, arguments: dict[str, Any]) -> bool:
        """Refuse who may not call an operation with these arguments.

        Args:
            caller: Who asks; admitted before.
            operation: What is asked for.
            arguments: The arguments as ``Operation.bind`` gives them.

        Returns:
            Whether the whole answer is the caller's; where not, it is a list to be cut.

        Raises:
            Forbidden: The caller does not hold the role in a project of what is named.
        """
        named = operation.named(arguments)
        whole = self._rights.demand(caller, operation.role, named, arguments)
        if not whole and _listed_by(operation.result) is None:
            demand(caller, operation.role)
        return whole

    def answer(
        self, caller: Caller, stage: str, operation: Operation, arguments: dict[str, Any]
    ) -> Any:
        """Call an operation, seeing what its caller may see.

        Args:
            caller: Who asks; permitted before.
            stage: The name of the service.
            operation: What is asked for.
            arguments: The arguments as ``Operation.bind`` gives them.
        """
        method = getattr(getattr(self._platform, stage), operation.name)
        with sight(caller):
            return _call(method, arguments, caller)

    def cut(self, caller: Caller, operation: Operation, result: Any) -> Any:
        """Keep of a list what is of the caller's projects.

        Args:
            caller: Who asks.
            operation: What was asked for.
            result: What it answered.
        """
        field = _listed_by(operation.result) or ""
        return [one for one in result if caller.may("viewer", getattr(one, field))]

    def services(self, caller: Caller) -> "AsCaller":
        """Return the services as one caller may use them.

        Args:
            caller: Who asks.
        """
        return AsCaller(self, caller, kinds_of(self._platform.stages))

    def _demand_for_code(self, caller: Caller) -> None:
        """Refuse who may not run code of their own: where it is not confined, all is open to it."""
        if self._platform.sandbox.strength != "namespaces" and not caller.may("admin"):
            raise Forbidden(
                "This server does not confine code by namespaces, so only an admin in every "
                "project may bring some. 'treadle status' on its machine says how code is "
                "confined there."
            )


class AsCaller(Services):
    """The services as one caller may use them: a page can show nothing that the API would not.

    Args:
        asking: Does the operations.
        caller: Who asks.
        kinds: The services' types by stage.

    Attributes:
        asked: What was asked for, in order.
    """

    def __init__(self, asking: Asking, caller: Caller, kinds: dict[str, type]) -> None:
        self.asked: list[Asked] = []
        self._asking, self._caller, self._kinds = asking, caller, kinds

    def __getattr__(self, stage: str) -> Any:
        """A service, when it is first asked for: a page needs few of them."""
        if stage not in self._kinds:
            raise AttributeError(stage)
        service: Any = _service(self._kinds[stage], stage, self._asking, self._caller, self.asked)
        setattr(self, stage, service)
        return service


def _service(kind: type[S], stage: str, asking: Asking, caller: Caller, asked: list[Asked]) -> S:
    def method(operation: Operation) -> Any:
        def call(self: object, **arguments: Any) -> Any:  # noqa: ARG001
            asking.admit(caller, operation)
            bound = _defaults(operation) | arguments
            whole = asking.permit(caller, operation, bound)
            asked.append(Asked(stage, operation, arguments))
            result = asking.answer(caller, stage, operation, bound)
            return result if whole else asking.cut(caller, operation, result)

        return call

    methods = {name: method(operation) for name, operation in operations(cast(type, kind)).items()}
    return cast(S, type(kind.__name__, (), methods)())


def _call(method: Any, arguments: dict[str, Any], caller: Caller) -> Any:
    with acting(caller.name):
        return method(**arguments)


def _defaults(operation: Operation) -> dict[str, Any]:
    parameters = operation.parameters.values()
    return {one.name: one.default for one in parameters if not one.required}


def _listed_by(result: Any) -> str | None:
    """The field by which a list's items tell their project; None where they do not."""
    (item,) = typing.get_args(result) if typing.get_origin(result) is list else (None,)
    if item is EventRecord:  # whoever reads the log on by number takes a cut page for its end
        return None
    return "project" if hasattr(item, "project") else None
