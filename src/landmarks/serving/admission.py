"""Admission control: how much may be under way at once. What comes above that is refused, and may come again."""

from collections.abc import Iterator
from contextlib import contextmanager

from landmarks.params import ServiceParams
from landmarks.serving.problems import RequestError

_BUSY = "The service is busy. Try again in a second."


class AdmissionControl:
    """Bounds the requests that are being answered, and the bytes of all bodies in memory.

    A body that is still coming in takes bytes but no slot, so slow clients keep nobody else out. When the bytes run
    out, the upload that began last is dropped: were it the one that asks for more, many at once would all fail.
    Used in the event loop alone.
    """

    def __init__(self, limits: ServiceParams) -> None:
        self._slots = limits.max_waiting
        self._bytes = limits.max_waiting_bytes
        self._incoming: list[Upload] = []

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Hold a slot while the block runs, and release it then.

        Raises:
            RequestError: all slots are taken.
        """
        if self._slots < 1:
            raise RequestError(_BUSY, 503)
        self._slots -= 1
        try:
            yield
        finally:
            self._slots += 1

    @contextmanager
    def open_upload(self) -> Iterator["Upload"]:
        """Take in a body, whose bytes count until the block ends."""
        upload = Upload(self)
        self._incoming.append(upload)
        try:
            yield upload
        finally:
            self.release(upload)

    def acquire_bytes(self, upload: "Upload", count: int) -> bool:
        """Reserve bytes for an upload; False when it had to be dropped."""
        while count > self._bytes and upload in self._incoming:
            self.release(self._incoming[-1])
        if upload not in self._incoming:
            return False
        self._bytes -= count
        return True

    def complete(self, upload: "Upload") -> bool:
        """Let an upload keep its bytes to the end, now that all of it is there; False when it was dropped before."""
        if upload not in self._incoming:
            return False
        self._incoming.remove(upload)
        return True

    def release(self, upload: "Upload") -> None:
        """Give the bytes of an upload back."""
        if upload in self._incoming:
            self._incoming.remove(upload)
        self._bytes += upload.counted
        upload.counted = 0
        upload.body.clear()


class Upload:
    """A body that comes in while there is memory for it. `counted` bytes of it are reserved."""

    def __init__(self, admission: AdmissionControl) -> None:
        self._admission = admission
        self.body = bytearray()
        self.counted = 0

    def add(self, block: bytes) -> None:
        """Keep more of the body, unless it was dropped."""
        if self._admission.acquire_bytes(self, len(block)):
            self.counted += len(block)
            self.body += block

    def take_body(self) -> bytes:
        """Hand over the whole body.

        Raises:
            RequestError: there was too little memory for it.
        """
        if not self._admission.complete(self):
            raise RequestError(_BUSY, 503)
        body = bytes(self.body)
        self.body.clear()
        return body
