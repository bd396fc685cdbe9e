"""The compiler: turns submitted tasks and workflows into the closures that are stored and run, or says what is wrong.

Pure: messages in, messages or `CompileErrors` out; no clock, no database. Load what `requirements` names, then call
`compile_workflow`. The registry and the engines (for dynamic workflows) call the same functions.
"""

from app.compiler.compile_errors import CompileErrors, Problem
from app.compiler.requirements import Requirements, requirements
from app.compiler.task import compile_task
from app.compiler.workflow import compile_workflow
from app.compiler.workflow_graph import END, START, LaunchPlanInterface

__all__ = [
    "END",
    "START",
    "CompileErrors",
    "LaunchPlanInterface",
    "Problem",
    "Requirements",
    "compile_task",
    "compile_workflow",
    "requirements",
]
