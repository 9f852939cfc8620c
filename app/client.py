"""HTTP client of the service, for the page.

The page imports nothing from the package `landmarks` and relies only on the documented API. A key that an older service
does not send is None here.
"""

import base64
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

ADDRESS_VARIABLE = "LANDMARKS_SERVICE_URL"
KEY_VARIABLE = "LANDMARKS_API_KEY"
DEFAULT_ADDRESS = "http://127.0.0.1:3000"
_BUSY = (429, 503)  # BentoML's own limit answers 429
_WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0)
_MOST_THUMBNAIL_BYTES = 200_000


class ServiceError(Exception):
    """The service does not answer, or what answers is not this service. Nothing is wrong with the photo."""


class BusyError(ServiceError):
    """The service is overloaded, also after several retries."""


class RefusedError(Exception):
    """The service refuses this photo; the message is the reason."""


@dataclass(frozen=True)
class Prediction:
    """A landmark that a photo may show."""

    landmark_id: int
    name: str
    score: float


@dataclass(frozen=True)
class Neighbour:
    """A similar photo of the gallery; `thumbnail` is a data URL, or None."""

    name: str
    landmark_id: int
    similarity: float
    image_id: str
    author: str | None
    license: str | None
    url: str | None
    thumbnail: str | None


@dataclass(frozen=True)
class Answer:
    """The answer for a photo. The service compares `landmark_score` with `threshold`, the operating point.

    `confidence` is the chance that the first prediction is right. Services of earlier versions send neither score.
    """

    predictions: tuple[Prediction, ...]
    is_landmark: bool
    threshold: float
    landmark_score: float | None
    confidence: float | None
    neighbours: tuple[Neighbour, ...]


class Service:
    """Client of the service; it is safe to use from several threads."""

    def __init__(self, address: str, key: str | None = None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        # for messages: without the login that httpx reads from it
        self.address = str(httpx.URL(address).copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")
        # trust_env=False: requests to this machine must not go through a proxy from the environment
        self._client = httpx.Client(base_url=address, headers=headers, timeout=60, trust_env=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Connect to the address, and with the key, from the environment."""
        return cls(os.environ.get(ADDRESS_VARIABLE, DEFAULT_ADDRESS), os.environ.get(KEY_VARIABLE))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def is_ready(self) -> bool:
        """Return whether the service accepts photos now."""
        try:
            return self._client.get("/readyz", timeout=3).is_success
        except httpx.HTTPError:
            return False

    def describe_model(self) -> Mapping[str, Any]:
        """Return the service's description of its model; empty if it has none.

        Raises:
            ServiceError: the service does not answer.
        """
        response = self._send("GET", "/model")
        facts = _read_json(response) if response.is_success else {}
        return facts if isinstance(facts, Mapping) else {}

    def ask(self, photo: bytes, k: int = 5, neighbours: int = 6) -> Answer:
        """Name the landmark in a photo, and find the most similar photos.

        Raises:
            RefusedError: the photo cannot be read or is too large.
            ServiceError: the service does not answer, or the key is wrong; `BusyError` if it is overloaded.
        """
        recognition = self._post("/classify", photo, k)
        found = self._post("/search", photo, neighbours)
        try:
            best, *others = recognition["predictions"]  # an answer without predictions raises ValueError here
            return Answer(
                tuple(_read_prediction(item) for item in (best, *others)),
                bool(recognition["is_landmark"]),
                float(recognition["threshold"]),
                _read_score(recognition, "landmark_score"),
                _read_score(recognition, "confidence"),
                tuple(self._read_neighbour(item) for item in found["neighbours"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._wonder() from error

    def _post(self, path: str, photo: bytes, k: int) -> Any:
        response = self._send("POST", path, files={"image": ("photo", photo)}, data={"k": str(k)})
        if response.status_code in (401, 403):
            raise ServiceError(f"The service wants another key. Set {KEY_VARIABLE} where the page is started.")
        body = _read_json(response)
        if response.is_success and isinstance(body, Mapping):
            return body
        if 400 <= response.status_code < 500 and isinstance(body, Mapping) and isinstance(body.get("error"), str):
            raise RefusedError(body["error"])
        raise self._wonder(response.status_code)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        for wait in (*_WAITS_SECONDS, None):
            try:
                response = self._client.request(method, path, **content)
            except httpx.HTTPError as error:
                raise ServiceError(f"The service at {self.address} does not answer.") from error
            if response.status_code not in _BUSY:
                return response
            if wait is not None:
                time.sleep(wait)
        raise BusyError("The service is busy. Try again in a moment.")

    def _wonder(self, status: int = 200) -> ServiceError:
        status_text = f" (status {status})" if status != 200 else ""
        return ServiceError(f"What answers at {self.address} does not answer as the service of landmarks{status_text}.")

    def _read_neighbour(self, item: Mapping[str, Any]) -> Neighbour:
        return Neighbour(
            name=str(item.get("name") or ""),
            landmark_id=int(item["landmark_id"]),
            similarity=float(item["similarity"]),
            image_id=str(item["image_id"]),
            author=item.get("author") or None,
            license=item.get("license") or None,
            url=item.get("url") or None,
            thumbnail=self._fetch_thumbnail(item.get("thumbnail")),
        )

    def _fetch_thumbnail(self, path: object) -> str | None:
        """Fetch a thumbnail as a data URL, from the service only; the browser may not be able to reach the service."""
        # a URL of another host would receive the key
        if not isinstance(path, str) or urlsplit(path).scheme or urlsplit(path).netloc:
            return None
        try:
            response = self._client.get(path, timeout=10)
        except httpx.HTTPError:
            return None
        kind = response.headers.get("content-type", "").partition(";")[0]
        is_picture = response.is_success and kind in ("image/jpeg", "image/png", "image/webp")
        if not is_picture or len(response.content) > _MOST_THUMBNAIL_BYTES:
            return None
        return f"data:{kind};base64,{base64.b64encode(response.content).decode()}"


def _read_json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _read_score(recognition: Mapping[str, Any], name: str) -> float | None:
    return None if recognition.get(name) is None else float(recognition[name])


def _read_prediction(item: Mapping[str, Any]) -> Prediction:
    return Prediction(int(item["landmark_id"]), str(item.get("name") or ""), float(item["score"]))
