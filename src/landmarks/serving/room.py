"""How much may be under way at once. What comes above that is told so at once, and may come again."""

from collections.abc import Iterator
from contextlib import contextmanager

from landmarks.params import ServiceParams
from landmarks.serving.problems import RequestError

_BUSY = "The service is busy. Try again in a second."


class Room:
    """Counts the requests that are being answered, and the bytes of all bodies in memory.

    A body that is still coming in takes bytes but no place: slow clients keep nobody else out. Used in the event loop
    alone.
    """

    def __init__(self, limits: ServiceParams) -> None:
        self._places = limits.max_waiting
        self._bytes = limits.max_waiting_bytes

    @contextmanager
    def take_place(self) -> Iterator[None]:
        """Have a place while the block runs.

        Raises:
            RequestError: there is none left.
        """
        if self._places < 1:
            raise RequestError(_BUSY, 503)
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    @contextmanager
    def open_hold(self) -> Iterator["Hold"]:
        """Have a hold, which takes bytes as a body comes in and gives them back when the block ends."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            self._bytes += hold.bytes

    def take_bytes(self, count: int) -> bool:
        """Whether so many bytes were left, and are now taken."""
        if count > self._bytes:
            return False
        self._bytes -= count
        return True


class Hold:
    """The bytes that one body has taken of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.bytes = 0
        self.refused = False

    def add(self, count: int) -> bool:
        """Take more bytes; once there were too few, none are taken any more."""
        self.refused = self.refused or not self._room.take_bytes(count)
        self.bytes += 0 if self.refused else count
        return not self.refused

    def check(self) -> None:
        """Refuse the body that did not fit.

        Raises:
            RequestError: there was too little room for it.
        """
        if self.refused:
            raise RequestError(_BUSY, 503)
