"""Resolver for flytekit's commands that loads a sensor as a task. The task waits until the sensor's poke is true.

flytekit itself runs sensors in its connector service: the template of a sensor names a class, but no container.
Source: flytekit sensor/sensor_engine.py.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import time
import traceback
from typing import Any

# app/engine/local/nodes/task_types.py sets this variable to a JSON object with the members that are read below.
VARIABLE = "FLYTEADMIN_SENSOR"
# After so many failed pokes in a row the sensor fails. A poke may call a service that is unavailable for a moment.
_FAILURES_MAX = 6


class Resolver:
    """Implements the part of flytekit's TaskResolverMixin that its commands use."""

    def load_task(self, loader_args: list[str]) -> Any:
        """Return the sensor as a task whose execution ends when the sensor's poke is true.

        Raises:
            FlyteUserRuntimeException: The sensor's class cannot be imported or instantiated.
        """
        given = json.loads(os.environ[VARIABLE])
        try:
            sensor = _made(given["sensor_module"], given["sensor_name"], given["sensor_config"])
        except Exception as error:
            raise _of_user(error, given) from error

        def execute(**inputs: Any) -> None:
            asyncio.run(_wait(sensor, inputs, given["interval_seconds"]))

        sensor.execute = execute
        return sensor


def _made(module: str, name: str, config: Any) -> Any:
    sensor = getattr(importlib.import_module(module), name)
    # Parity: flytekit passes the configuration as a dict.
    return sensor("sensor", config=config) if config is not None else sensor("sensor")


def _of_user(error: Exception, given: dict[str, Any]) -> Exception:
    from flytekit.exceptions.user import FlyteUserRuntimeException  # type: ignore[import-not-found]

    reason = RuntimeError(
        f"the sensor {given['sensor_name']} of module {given['sensor_module']} cannot be made: "
        f"{type(error).__name__}: {error}. {given['code']}"
    )
    wrapped: Exception = FlyteUserRuntimeException(reason, timestamp=time.time())
    return wrapped


async def _wait(sensor: Any, inputs: dict[str, Any], interval_seconds: float) -> None:
    """Poke until the answer is true. Print failures; raise the last of six in a row."""
    failures = 0
    while True:
        try:
            answer = sensor.poke(**inputs)
            if await answer if inspect.isawaitable(answer) else answer:
                return
            failures = 0
        except Exception:
            failures += 1
            if failures == _FAILURES_MAX:
                raise
            traceback.print_exc()
        await asyncio.sleep(interval_seconds)


resolver = Resolver()
