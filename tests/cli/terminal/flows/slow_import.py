"""A module whose import takes long."""

import time

from counting import count

time.sleep(60)

__all__ = ["count"]
