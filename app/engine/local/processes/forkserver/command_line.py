"""Reads the command line of flytekit's commands without click's parser, which takes longer than many tasks.

It reads the form that flytekit registers: options of one value each, then "--" and the arguments. Anything else is left
to click, with its messages. So is everything if click reads an example of this form differently.
"""

from __future__ import annotations

import sys
from typing import Any

# Commands of which click reads an example as this module does.
_read_alike: set[str] = set()


def compare(commands: dict[str, Any]) -> None:
    """Read an example of each command with click too, and use this module only where the results are equal."""
    for name, command in commands.items():
        options = [param for param in command.params if hasattr(param, "is_flag") and not param.is_flag]
        args = [word for option in options if _takes_text(option) for word in (option.opts[0], "-x y")]
        args += ["--", "a", "--", "--b"]
        if _plain_params(command, args) == dict(command.make_context(name, list(args)).params):
            _read_alike.add(name)


def _takes_text(option: Any) -> bool:
    return option.type is sys.modules["click"].STRING


def context_of(command: Any, name: str, args: list[str]) -> Any:
    """Return click's context of a command with the parameters of its command line, as `make_context` returns it.

    Raises:
        click.ClickException: The command line is wrong.
    """
    params = _plain_params(command, args) if name in _read_alike else None
    if params is None:
        return command.make_context(name, args)
    context = command.context_class(command, info_name=name, **command.context_settings)
    context.params.update(params)
    return context


def run(command: Any, name: str, args: list[str]) -> None:
    """Run a command to its end as its console script does; always raises SystemExit."""

    class Prepared:
        """Gives the command its context, and is the command for everything else."""

        def __getattr__(self, attribute: str) -> Any:
            return getattr(command, attribute)

    prepared: Any = Prepared()
    prepared.make_context = lambda info_name, arguments, **more: context_of(command, name, args)
    # click turns exceptions into messages and exit codes in this method.
    sys.exit(type(command).main(prepared, args=args, prog_name=name))


def _plain_params(command: Any, args: list[str]) -> dict[str, Any] | None:
    """Return the parameters by their names; None if click has to read them."""
    click: Any = sys.modules["click"]
    options: dict[str, Any] = {}
    params: dict[str, Any] = {}
    rest: Any = None
    for param in command.params:
        usual = param.callback is None and param.envvar is None
        if isinstance(param, click.Argument) and param.nargs == -1 and param.type is click.UNPROCESSED and rest is None:
            rest = param
        elif isinstance(param, click.Option) and param.nargs == 1 and not param.multiple and usual:
            options.update(dict.fromkeys(param.opts, param))
            params[param.name] = False if param.is_flag else None
        else:
            return None
    if rest is None or "--" not in args:
        return None
    end = args.index("--")
    if end % 2:
        return None
    for position in range(0, end, 2):
        option, value = options.get(args[position]), args[position + 1]
        if option is None or option.is_flag or not _takes_text(option) or not value:
            return None
        params[option.name] = value
    if any(option.required and params[option.name] is None for option in options.values()):
        return None
    params[rest.name] = tuple(args[end + 1 :])
    return params
