"""A request that cannot be answered."""

from landmarks.errors import LandmarksError

_SHOWN = 40


class RequestError(LandmarksError):
    """What a client sent cannot be answered; `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def shorten(text: str) -> str:
    """What a client sent, quoted and short enough to be shown to it again."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
