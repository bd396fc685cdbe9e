"""A resolver for flytekit's commands: it loads a sensor as a task that waits until the sensor's poke is true.

flytekit runs sensors in its connector service: a sensor's template names a class, and neither a container nor code.
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

# What app/engine/local/nodes/task_types.py sets: a JSON object with the members below.
VARIABLE = "FLYTEADMIN_SENSOR"
# Failed pokes in a row, after which the sensor fails. A poke often asks a service that may be away for a moment.
_FAILURES_MAX = 6


class Resolver:
    """flytekit's protocol for what loads the task of a command."""

    def load_task(self, loader_args: list[str]) -> Any:
        """Return the sensor of this attempt, whose execution ends when it pokes true.

        Raises:
            FlyteUserRuntimeException: When the sensor's class cannot be imported or made.
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
    # Parity: flytekit gives the configuration as the dict that its to_dict made.
    return sensor("sensor", config=config) if config is not None else sensor("sensor")


def _of_user(error: Exception, given: dict[str, Any]) -> Exception:
    from flytekit.exceptions.user import FlyteUserRuntimeException  # type: ignore[import-not-found]

    told = RuntimeError(
        f"the sensor {given['sensor_name']} of module {given['sensor_module']} cannot be made: "
        f"{type(error).__name__}: {error}. {given['code']}"
    )
    wrapped: Exception = FlyteUserRuntimeException(told, timestamp=time.time())
    return wrapped


async def _wait(sensor: Any, inputs: dict[str, Any], interval_seconds: float) -> None:
    """Poke until the answer is true; log failures, and raise the last of too many in a row."""
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
