"""Models as functions of their examples logs, and their versions as they travel."""

from .learning import Learning, Progress
from .versions import version_of

__all__ = ["Learning", "Progress", "version_of"]
