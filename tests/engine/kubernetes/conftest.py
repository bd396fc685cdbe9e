"""Tests of this engine use databases without tasks, as those of services do."""

from tests.conftest import bench

__all__ = ["bench"]
