"""Checks of literals against declarations: inputs of launch plans and executions, values of signals.

The services call these pure functions before they write. Names are checked in sorted order, so of several bad inputs
the same one is always reported (upstream chooses one at random).

Proto: flyteidl/core/literals.proto.
"""

from __future__ import annotations

from collections.abc import Mapping

from flyteidl.core import interface_pb2, literals_pb2, types_pb2

from app.compiler.casting import Casts
from app.compiler.inference import type_of
from app.compiler.literal_values import datetime_problem, problem_of
from app.errors import InvalidArgument
from app.wire.text import text

_UNKNOWN_TYPE = (
    "got unknown literal type: [<nil>].\n"
    "Suggested solution: Please update all your Flyte deployment images to the latest version and try again"
)


def check_literals(literals: Mapping[str, literals_pb2.Literal], field: str) -> None:
    """Check names, values and datetimes of a map of literals, for example `fixed_inputs` or `inputs`.

    Raises:
        FlyteError: INVALID_ARGUMENT for an empty name, a literal without a value, a datetime out of range.

    Source: validateLiteralMap.
    """
    # Deviates: every literal is checked; upstream stops at the first datetime, in random order.
    for name, literal in sorted(literals.items()):
        if not name:
            raise InvalidArgument(f"missing key in {field}")
        if literal.WhichOneof("value") is None:
            raise InvalidArgument(f"missing valid literal in {field} {name}")
        _check_datetime(literal)


def check_parameters(parameters: Mapping[str, interface_pb2.Parameter], field: str) -> None:
    """Check names, types and default values of a launch plan's parameters; `field` is `default_inputs`.

    Raises:
        FlyteError: INVALID_ARGUMENT, which names the parameter.

    Source: validateParameterMapDisableArtifacts.
    """
    casts = Casts()
    for name, parameter in sorted(parameters.items()):
        if parameter.HasField("artifact_query"):
            raise InvalidArgument(f"artifact mode not enabled but query found {field} {name}")
    for name, parameter in sorted(parameters.items()):
        if not name:
            raise InvalidArgument(f"missing key in {field}")
        if not parameter.var.HasField("type"):
            raise InvalidArgument(
                f"The Variable component of the Parameter {name} in {field} either is missing, or has a missing Type"
            )
        if not parameter.HasField("default"):
            if not parameter.required:
                raise InvalidArgument(
                    f"Invalid variable {name} in {field} - variable has neither default, nor is required. "
                    "One must be specified"
                )
            continue
        declared, given = parameter.var.type, known_type(name, parameter.default)
        if not casts.castable(given, declared):
            # Parity: "has type" shows the declared type and "expected" the type of the default value.
            raise InvalidArgument(
                f"Type mismatch for Parameter {name} in {field} has type {text(declared)}, expected {text(given)}"
            )
        if declared.simple == types_pb2.SimpleType.DATETIME:
            if not parameter.default.scalar.primitive.HasField("datetime"):
                raise InvalidArgument("proto: invalid nil Timestamp")
            _check_datetime(parameter.default)
        _check_value(f"default value of {name} in {field}", parameter.default, declared, casts)


def expected_inputs(
    workflow: Mapping[str, interface_pb2.Variable],
    fixed: Mapping[str, literals_pb2.Literal],
    defaults: Mapping[str, interface_pb2.Parameter],
) -> interface_pb2.ParameterMap:
    """Return the parameters of a launch plan: its defaults, and a required one for each other input of the workflow.

    Raises:
        FlyteError: INVALID_ARGUMENT for an input that the workflow does not have, or has with another type.

    Source: checkAndFetchExpectedInputForLaunchPlan.
    """
    casts = Casts()
    if not workflow:
        for kind, given in (("default", defaults), ("fixed", fixed)):
            if given:
                raise InvalidArgument(f"invalid launch plan {kind} inputs, expected none but found {len(given)}")
    for name, parameter in sorted(defaults.items()):
        if name not in workflow:
            raise InvalidArgument(f"unexpected default_input {name}")
        declared, wanted = parameter.var.type, workflow[name].type
        if not casts.castable(declared, wanted):
            # Parity: "expected" shows the type of the launch plan and "got" that of the workflow.
            raise InvalidArgument(
                f"invalid default_input wrong type {name}, expected {text(declared)}, got {text(wanted)} instead"
            )
        if parameter.HasField("default"):
            _check_value(f"default_input {name}", parameter.default, wanted, casts)
    for name, literal in sorted(fixed.items()):
        if name not in workflow:
            raise InvalidArgument(f"unexpected fixed_input {name}")
        given_type, wanted = known_type(name, literal), workflow[name].type
        if not casts.castable(given_type, wanted):
            raise InvalidArgument(
                f"invalid fixed_input wrong type {name}, expected {text(wanted)}, got {text(given_type)} instead"
            )
        _check_value(f"fixed_input {name}", literal, wanted, casts)
    expected = interface_pb2.ParameterMap()
    for name, variable in workflow.items():
        if name in defaults:
            expected.parameters[name].CopyFrom(defaults[name])
        elif name not in fixed:
            required = expected.parameters[name]
            required.required = True
            required.var.description = variable.description
            if variable.HasField("type"):
                required.var.type.CopyFrom(variable.type)
    return expected


def merge_inputs(
    user: Mapping[str, literals_pb2.Literal],
    fixed: Mapping[str, literals_pb2.Literal],
    expected: interface_pb2.ParameterMap,
) -> dict[str, literals_pb2.Literal]:
    """Return the inputs of an execution: the user's, defaults for the others, and the launch plan's fixed inputs.

    Raises:
        FlyteError: INVALID_ARGUMENT for an input that is unknown, missing, of another type or fixed.

    Source: CheckAndFetchInputsForExecution.
    """
    casts = Casts()
    parameters = expected.parameters
    for name in sorted(user):
        if name not in parameters:
            raise InvalidArgument(f"invalid input {name}")
    merged = dict(user)
    for name, parameter in sorted(parameters.items()):
        if name not in merged:
            if parameter.required:
                raise InvalidArgument(f"expected_inputs {name} missing")
            merged[name] = parameter.default
            continue
        declared, given = parameter.var.type, known_type(name, merged[name])
        if not casts.castable(given, declared):
            raise InvalidArgument(f"invalid {name} input wrong type. Expected {text(declared)}, but got {text(given)}")
        _check_value(f"{name} input", merged[name], declared, casts)
    for name in sorted(fixed):
        if name in merged:
            raise InvalidArgument(f"fixed_inputs {name} cannot be overridden")
        merged[name] = fixed[name]
    return merged


def check_signal(value: literals_pb2.Literal, declared: types_pb2.LiteralType) -> None:
    """Check a value for a signal of the declared type.

    Raises:
        FlyteError: INVALID_ARGUMENT for a value of an unknown or another type.

    Source: ValidateSignalUpdateRequest.
    """
    casts = Casts()
    given = known_type("", value)
    # Deviates: upstream casts only from the signal to the value, so that an optional signal can never be set.
    if not casts.castable(declared, given) and not casts.castable(given, declared):
        encoded = " ".join(str(byte) for byte in declared.SerializeToString(deterministic=True))
        raise InvalidArgument(
            f"requested signal value [{text(value)}] is not castable to existing signal type [[{encoded}]]"
        )
    _check_value("signal value", value, declared, casts)


def known_type(name: str, literal: literals_pb2.Literal) -> types_pb2.LiteralType:
    """Return the type of a literal. Raises INVALID_ARGUMENT for a literal of unknown type.

    Source: ValidateLiteralType.
    """
    known = type_of(literal)
    if known is None:
        raise InvalidArgument(f"Failed to validate literal type for [{name}] with err: {_UNKNOWN_TYPE}")
    return known


def _check_datetime(literal: literals_pb2.Literal) -> None:
    """Raise INVALID_ARGUMENT for a datetime or duration outside of the range that JSON can represent."""
    problem = datetime_problem(literal)
    if problem is not None:
        raise InvalidArgument(problem)


def _check_value(what: str, literal: literals_pb2.Literal, declared: types_pb2.LiteralType, casts: Casts) -> None:
    """Raise INVALID_ARGUMENT for a value that its declared type does not allow, such as one outside an enum.

    Deviates: upstream compares only types, and the task fails later.
    """
    problem = problem_of(literal, declared, casts)
    if problem is not None:
        raise InvalidArgument(f"invalid {what}: {problem}")
