"""Learns to name the landmark in a photo, as a reproducible, tracked and deployable pipeline."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landmarks.recognizer.recognizer import Neighbour, Prediction, Recognition, Recognizer

__version__ = "0.1.0"
__all__ = ["Neighbour", "Prediction", "Recognition", "Recognizer", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the recognizer when it is asked for: `import landmarks` alone stays quick.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from landmarks.recognizer import recognizer

    return getattr(recognizer, name)
