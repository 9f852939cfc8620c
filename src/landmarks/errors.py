"""The exceptions of this package.

A message says what was wrong, what was received and what to do. The command line prints it without a traceback and
exits with code 1; the service answers with a 4xx status.
"""


class LandmarksError(Exception):
    """Base class: anything that the caller can fix."""


class ParamsError(LandmarksError):
    """A parameter is unknown, of the wrong type or out of range."""


class DataError(LandmarksError):
    """A table, a photo source or a selection cannot be used."""


class ScoringError(DataError, ValueError):
    """Predictions cannot be scored: the file or the numbers are malformed, or the metric is not defined for them."""


class ImageError(LandmarksError):
    """An image cannot be decoded within the limits.

    Attributes:
        reason: one of a few words, to count errors by: `damaged`, `unsupported`, `too_large`, `unreadable` (the file),
            or `empty_embedding` (the network finds nothing).
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


class ArtifactError(LandmarksError):
    """A file that a stage wrote is missing, damaged or of another version."""


class GateError(LandmarksError):
    """A model did not pass the gate to the registry; the registry is unchanged."""
