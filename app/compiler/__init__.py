"""The compiler: turns submitted tasks and workflows into the closures that are stored and run.

It is pure: messages in, messages or `CompileErrors` out, without clock or database. Callers load the tasks and launch
plans that `requirements` returns, then call `compile_workflow`. The services use it at registration, the engines for
dynamic workflows.
"""

from app.compiler.compile_errors import CompileErrors, CompileProblem
from app.compiler.requirements import Requirements, requirements
from app.compiler.task import compile_task
from app.compiler.workflow import compile_workflow
from app.compiler.workflow_graph import END, START, LaunchPlanInterface

__all__ = [
    "END",
    "START",
    "CompileErrors",
    "CompileProblem",
    "LaunchPlanInterface",
    "Requirements",
    "compile_task",
    "compile_workflow",
    "requirements",
]
