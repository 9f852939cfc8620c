"""What answers the photos: a recognizer in this process, or a running service."""

import os
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from landmarks.albums.state import Answer
from landmarks.errors import ImageError, LandmarksError
from landmarks.photos.decoding import decode_image
from landmarks.recognizer.format import compute_recognizer_fingerprint
from landmarks.recognizer.recognizer import Recognition, Recognizer
from landmarks.schema.network_format import Pixels

_K = 5
_SERVICE_THREADS = 8
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 120.0
_PAGE = 10_000
_BUSY, _BUSY_TRIES, _BUSY_SECONDS = (429, 503), 120, 0.5
_PHOTO_REFUSED = (400, 413, 415, 422)
_RAW = {"content-type": "application/octet-stream"}
_KEY_VARIABLE = "LANDMARKS_API_KEY"


@dataclass(frozen=True)
class Identity:
    """Which model it is.

    Attributes:
        name: for people.
        version: in the registry, or the beginning of the fingerprint.
        fingerprint: of everything that an answer depends on.
        are_real: whether its landmarks exist, so that Wikimedia Commons may have them.
    """

    name: str
    version: str
    fingerprint: str
    are_real: bool = True


class Model(Protocol):
    """Answers photos."""

    @property
    def identity(self) -> Identity:
        """Which model it is."""
        ...

    @property
    def names(self) -> Mapping[int, str]:
        """The name of each landmark, as the data set has it."""
        ...

    @property
    def translations(self) -> Mapping[int, Mapping[str, str]]:
        """Names in other languages, by landmark and language."""
        ...

    @property
    def threads(self) -> int | None:
        """How many photos to load at once; one per processor if None."""
        ...

    def load(self, data: bytes) -> Pixels | Answer:
        """Return a decoded photo for `answer`, or at once its answer."""
        ...

    def answer(self, pixels: Pixels) -> Sequence[Answer]:
        """Answer a batch of decoded photos, uint8 (n, image_size, image_size, 3)."""
        ...


class LocalModel:
    """A recognizer in this process."""

    threads: int | None = None

    def __init__(self, recognizer: Recognizer, folder: Path, name: str, version: str = "") -> None:
        self._recognizer = recognizer
        version = version or recognizer.network.bundle.fingerprint[:12]
        fingerprint = compute_recognizer_fingerprint(folder)
        self.identity = Identity(name, version, fingerprint, not recognizer.gallery.is_of_demo)
        self.names = {landmark.landmark_id: landmark.name for landmark in recognizer.landmarks}
        self.translations = {landmark.landmark_id: landmark.translations for landmark in recognizer.landmarks}

    def load(self, data: bytes) -> Pixels | Answer:
        """Decode a photo."""
        return decode_image(data, self._recognizer.network.image_format)

    def answer(self, pixels: Pixels) -> list[Answer]:
        """As `Model.answer`."""
        return [_read_recognition(found) for found in self._recognizer.classify_pixels(pixels, _K)]


class RemoteModel:
    """A running service; photos are sent to it as they are."""

    threads: int | None = _SERVICE_THREADS

    def __init__(self, address: str) -> None:
        """Ask the service what it serves; its key, if it has one, comes from `LANDMARKS_API_KEY`.

        Raises:
            LandmarksError: it is not an address, or nothing answers there as the service does.
        """
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise LandmarksError("--url must begin with http:// or https://, for example http://127.0.0.1:3000.")
        key = os.environ.get(_KEY_VARIABLE)
        # for messages: without a login
        self._address = str(httpx.URL(address).copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")
        self._client = httpx.Client(
            base_url=address,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=False,  # requests to this machine must not go through a proxy
        )
        try:
            self._introduce()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _introduce(self) -> None:
        facts, listed = self._get("/model"), self._list_landmarks()
        try:
            version = str(facts["version"] or facts["bento"])
            fingerprint = f"{facts['name']}-{version}-{facts['run_id']}-{facts['bento']}"
            self.identity = Identity(str(facts["name"]), version, fingerprint, not facts.get("is_invented"))
            self.names = {int(one["landmark_id"]): str(one["name"]) for one in listed}
            self.translations = {int(one["landmark_id"]): dict(one.get("translations") or {}) for one in listed}
        except (KeyError, TypeError, ValueError) as error:
            raise self._wonder(f"{error!r}") from error

    def _list_landmarks(self) -> list[Any]:
        """Fetch the landmarks page by page; services before API 1.3 give all at once."""
        listed: list[Any] = []
        while True:
            answer = self._get(f"/landmarks?offset={len(listed)}&limit={_PAGE}" if listed else "/landmarks")
            try:
                listed += answer["landmarks"]
                if not answer["landmarks"] or len(listed) >= answer.get("total", 0):
                    return listed
            except (KeyError, TypeError) as error:
                raise self._wonder(f"{error!r}") from error

    def load(self, data: bytes) -> Pixels | Answer:
        """Ask the service.

        Raises:
            ImageError: it cannot read the photo.
            LandmarksError: it does not answer, or refuses everything.
        """
        response = self._send("POST", "/classify", params={"k": _K}, content=data, headers=_RAW)
        if response.status_code in _PHOTO_REFUSED:
            raise ImageError(_read_problem(response), "unreadable")
        try:
            found = response.raise_for_status().json()
            landmarks = tuple((int(p["landmark_id"]), str(p["name"]), float(p["score"])) for p in found["predictions"])
            return Answer(
                landmarks,
                bool(found["is_landmark"]),
                landmark_score=float(found["landmark_score"]),
                confidence=float(found["confidence"]),
                threshold=float(found["threshold"]),
            )
        except (httpx.HTTPStatusError, KeyError, TypeError, ValueError) as error:
            raise self._wonder(_read_problem(response)) from error

    def answer(self, pixels: Pixels) -> list[Answer]:
        """As `Model.answer`; never called, as `load` answers."""
        raise AssertionError(f"the service answers each photo by itself, received {len(pixels)}")

    def _get(self, path: str) -> Any:
        response = self._send("GET", path)
        try:
            return response.raise_for_status().json()
        except (httpx.HTTPStatusError, ValueError) as error:
            raise self._wonder(_read_problem(response)) from error

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send a request; wait and send it again while the service is busy."""
        for _ in range(_BUSY_TRIES):
            try:
                response = self._client.request(method, path, **content)
            except httpx.HTTPError as error:
                raise LandmarksError(
                    f"Nothing answers at {self._address} ({error}). Start the service with `bentoml serve`, or correct "
                    "--url. Photos that were answered are kept."
                ) from error
            if response.status_code not in _BUSY:
                return response
            time.sleep(_BUSY_SECONDS)
        return response

    def _wonder(self, received: str) -> LandmarksError:
        return LandmarksError(
            f"{self._address} does not answer as the service of landmarks does: {received} Correct --url, and set "
            f"{_KEY_VARIABLE} if the service has a key."
        )


def _read_recognition(found: Recognition) -> Answer:
    landmarks = tuple((one.landmark_id, one.name, one.score) for one in found.predictions)
    return Answer(landmarks, found.is_landmark, found.landmark_score, found.confidence, found.threshold)


def _read_problem(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
