"""Settings: a frozen tree (`Settings`) and the one function that makes it (`load`).

A flag beats the environment, which beats the files, which beat what is built in.
"""

from app.settings.load import Loaded, load
from app.settings.shown import masked
from app.settings.tree import BadSetting, Settings

__all__ = ["BadSetting", "Loaded", "Settings", "load", "masked"]
