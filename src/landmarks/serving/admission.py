"""Admission control: limits on concurrent requests and on the memory of their bodies, answered with status 503."""

from collections.abc import Iterator
from contextlib import contextmanager

from landmarks.params import ServiceParams
from landmarks.serving.problems import RequestError

_BUSY = "The service is busy. Try again in a second."


class AdmissionControl:
    """Limits the requests that are being answered, and the bytes of all bodies in memory.

    A body that is being received takes bytes but no slot, so slow clients do not block others. When the bytes run out,
    the upload that began last is dropped. Dropping the upload that asks for more would fail many parallel uploads at
    once, each of them half received. There are no locks: use it only in the event loop.
    """

    def __init__(self, limits: ServiceParams) -> None:
        self._slots = limits.max_waiting
        self._bytes = limits.max_waiting_bytes
        self._incoming: list[Upload] = []

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Hold a slot while the block runs.

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
        """Start an upload; its bytes are reserved until the block ends."""
        upload = Upload(self)
        self._incoming.append(upload)
        try:
            yield upload
        finally:
            self.release(upload)

    def acquire_bytes(self, upload: "Upload", count: int) -> bool:
        """Reserve bytes for an upload; return False if it had to be dropped."""
        # ends when enough bytes are free, or when this upload itself has been dropped
        while count > self._bytes and upload in self._incoming:
            self.release(self._incoming[-1])
        if upload not in self._incoming:
            return False
        self._bytes -= count
        return True

    def complete(self, upload: "Upload") -> bool:
        """Protect a complete upload from being dropped; return False if it was dropped before."""
        if upload not in self._incoming:
            return False
        self._incoming.remove(upload)
        return True

    def release(self, upload: "Upload") -> None:
        """Return the bytes of an upload to the pool."""
        if upload in self._incoming:
            self._incoming.remove(upload)
        self._bytes += upload.counted
        upload.counted = 0  # `open_upload` releases dropped uploads a second time, which must return nothing
        upload.body.clear()


class Upload:
    """A body that is being received; `counted` bytes are reserved for it."""

    def __init__(self, admission: AdmissionControl) -> None:
        self._admission = admission
        self.body = bytearray()
        self.counted = 0

    def add(self, block: bytes) -> None:
        """Append a block to the body; the block is discarded if the upload was dropped."""
        if self._admission.acquire_bytes(self, len(block)):
            self.counted += len(block)
            self.body += block

    def take_body(self) -> bytes:
        """Return the whole body; its bytes stay reserved.

        Raises:
            RequestError: the upload was dropped, because memory ran out.
        """
        if not self._admission.complete(self):
            raise RequestError(_BUSY, 503)
        body = bytes(self.body)
        self.body.clear()
        return body
