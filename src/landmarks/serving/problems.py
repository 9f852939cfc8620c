"""A request that cannot be answered."""

from collections.abc import Mapping

from landmarks.errors import LandmarksError

_SHOWN = 40
_HEADERS: dict[int, Mapping[str, str]] = {
    401: {"www-authenticate": "Bearer"},
    503: {"retry-after": "1"},
}


class RequestError(LandmarksError):
    """What a client sent cannot be answered; `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that belong to the status."""
        return _HEADERS.get(self.status, {})


def shorten(text: str) -> str:
    """What a client sent, quoted and short enough to be shown to it again."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
