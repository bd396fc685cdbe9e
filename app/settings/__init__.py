"""Settings: a frozen tree (`Settings`) and the one function that makes it (`load`).

A flag wins over the environment, the environment over files, files over the built-in defaults.
"""

from app.settings.load import Loaded, load
from app.settings.secrets import Masker, redact
from app.settings.shown import masked, masker_of
from app.settings.support import check_served
from app.settings.tree import Settings
from app.settings.values import BadSetting

__all__ = ["BadSetting", "Loaded", "Masker", "Settings", "check_served", "load", "masked", "masker_of", "redact"]
