"""Settings: a frozen tree (`Settings`) and the one function that makes it (`load`).

A flag beats the environment, which beats the files, which beat what is built in.
"""

from app.settings.load import Loaded, load
from app.settings.secrets import Masker, redact
from app.settings.shown import masked, masker_of
from app.settings.tree import Settings
from app.settings.values import BadSetting

__all__ = ["BadSetting", "Loaded", "Masker", "Settings", "load", "masked", "masker_of", "redact"]
