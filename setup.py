"""Copy the files that the server reads at run time from the top of the repository into the wheel, below app/bundled."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
BUNDLED = (
    *("alembic.ini", "alembic/env.py", "alembic/script.py.mako", "alembic/versions/*.py"),
    *("openapi/flyte.json", "examples/hello.py"),
)


class BuildPy(build_py):
    """Adds BUNDLED to the wheel. An editable install reads these files where they are."""

    def run(self) -> None:
        """Build app/, then add BUNDLED."""
        super().run()
        if self.editable_mode:
            return
        for pattern in BUNDLED:
            for source in HERE.glob(pattern):
                target = Path(self.build_lib, "app", "bundled", source.relative_to(HERE))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)


setup(cmdclass={"build_py": BuildPy})
