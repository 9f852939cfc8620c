"""The exceptions this package raises on purpose.

A message says what was wrong, what was received and what to do. The command line prints it without a
traceback and exits with code 1; the service answers it with a 4xx status.
"""


class LandmarksError(Exception):
    """Anything that the caller can put right."""


class ParamsError(LandmarksError):
    """A parameter is unknown, of the wrong type or out of range."""


class DataError(LandmarksError):
    """A table, a photo source or a selection cannot be used."""


class ScoringError(DataError, ValueError):
    """Answers cannot be scored: the file or the numbers are malformed, or the figure is not defined for them."""


class ImageError(LandmarksError):
    """One image cannot be decoded within the limits."""


class ArtifactError(LandmarksError):
    """Something a stage wrote is missing, damaged or of another version."""


class GateError(LandmarksError):
    """A model did not reach what its registration asks for; nothing was changed."""
