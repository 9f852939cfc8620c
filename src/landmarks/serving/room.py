"""How much may be under way at once. What comes above that is told so at once, and may come again."""

from collections.abc import Iterator
from contextlib import contextmanager

from landmarks.params import ServiceParams
from landmarks.serving.problems import RequestError

_BUSY = "The service is busy. Try again in a second."


class Room:
    """Counts the requests that are being answered, and the bytes of all bodies in memory.

    A body that is still coming in takes bytes but no place, so slow clients keep nobody else out. Where the bytes run
    out, the body that began to come in last has to go: were it the one that asks for more, many at once would all fail.
    Used in the event loop alone.
    """

    def __init__(self, limits: ServiceParams) -> None:
        self._places = limits.max_waiting
        self._bytes = limits.max_waiting_bytes
        self._incoming: list[Upload] = []

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
    def open_upload(self) -> Iterator["Upload"]:
        """Have an upload, whose bytes count until the block ends."""
        upload = Upload(self)
        self._incoming.append(upload)
        try:
            yield upload
        finally:
            self.drop(upload)

    def make_room(self, upload: "Upload", count: int) -> bool:
        """Take bytes for an upload; whether there was room for them."""
        while count > self._bytes and upload in self._incoming:
            self.drop(self._incoming[-1])
        if upload not in self._incoming:
            return False
        self._bytes -= count
        return True

    def settle(self, upload: "Upload") -> bool:
        """Let an upload keep its bytes, now that it is complete; whether it was there until now."""
        if upload not in self._incoming:
            return False
        self._incoming.remove(upload)
        return True

    def drop(self, upload: "Upload") -> None:
        """Give the bytes of an upload back."""
        if upload in self._incoming:
            self._incoming.remove(upload)
        self._bytes += upload.counted
        upload.counted = 0
        upload.body.clear()


class Upload:
    """A body that comes in, for as long as there is room for it. `counted` is what it has taken of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.body = bytearray()
        self.counted = 0

    def add(self, block: bytes) -> None:
        """Keep more of the body; where it had to go, forget it."""
        if self._room.make_room(self, len(block)):
            self.counted += len(block)
            self.body += block

    def take_body(self) -> bytes:
        """The whole body.

        Raises:
            RequestError: there was too little room for it.
        """
        if not self._room.settle(self):
            raise RequestError(_BUSY, 503)
        body = bytes(self.body)
        self.body.clear()
        return body
