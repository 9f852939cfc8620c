"""Requests of the service as OpenAPI, and the types of its answers, except `Recognition`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from landmarks.params import ServiceParams
from landmarks.recognizer.recognizer import Neighbour, Recognition
from landmarks.serving.receipt import Origin

API_VERSION = "1.3"
DEFAULT_LANDMARKS, MAX_LANDMARKS = 1_000, 10_000  # of one answer of /landmarks
MAX_OFFSET = 999_999_999
MAX_QUERY_LETTERS = 200
MULTIPART = "multipart/form-data"
JSON = "application/json"
RAW_TYPES = ("image/*", "application/octet-stream")
# 4 x 4 pixels, PNG
_EXAMPLE_PHOTO = (
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAAAAACMmsGiAAAAHUlEQVR42mPce+m/"
    "Psulrf//M/3//5+BRe8/gx4AeJcKpmWCvnMAAAAASUVORK5CYII="
)


@dataclass(frozen=True)
class PhotoField:
    """The field of a form or of a JSON object that holds the photos of a request.

    Attributes:
        name: name of the field.
        most: maximum number of photos in a request. If it is 1, the photo may also be the body itself.
        takes_k: whether the endpoint takes `k`.
    """

    name: str
    most: int
    takes_k: bool = True

    @property
    def json_form(self) -> str:
        """The form of a JSON body, for error messages."""
        photo = '"<base64>"' if self.most == 1 else '["<base64>", ...]'
        k = ', "k": 3' if self.takes_k else ""
        return f'{{"{self.name}": {photo}{k}}}'

    def describe(self, photo: Mapping[str, Any]) -> dict[str, Any]:
        """Describe an object with this field as JSON Schema; `photo` is the schema of a photo."""
        photos = {"type": "array", "items": photo, "minItems": 1, "maxItems": self.most}
        return {
            "type": "object",
            "properties": {self.name: photo if self.most == 1 else photos},
            "required": [self.name],
            "additionalProperties": False,
        }


def list_photo_fields(limits: ServiceParams) -> dict[str, PhotoField]:
    """Return the field of each endpoint that takes photos, by the name of the endpoint."""
    return {
        "classify": PhotoField("image", 1),
        "classify_batch": PhotoField("images", limits.max_batch_photos),
        "search": PhotoField("image", 1),
        "embed": PhotoField("image", 1, takes_k=False),
    }


def describe_k(limits: ServiceParams) -> dict[str, Any]:
    """Describe `k` as JSON Schema."""
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": limits.max_k,
        "default": limits.default_k,
        "description": "Number of answers per photo.",
    }


def describe_request(field: PhotoField, limits: ServiceParams) -> dict[str, Any]:
    """Describe a request as OpenAPI: its bodies, and `k` as a parameter, since a raw photo has no place for it."""
    photo = {
        "type": "string",
        "description": f"A photo of at most {limits.max_pixels} pixels: JPEG, PNG, HEIC, AVIF, WebP, TIFF, GIF or BMP.",
    }
    binary = {**photo, "format": "binary"}
    example = {field.name: _EXAMPLE_PHOTO if field.most == 1 else [_EXAMPLE_PHOTO]}
    bodies: dict[str, Any] = {
        MULTIPART: {"schema": field.describe(binary)},
        JSON: {"schema": field.describe({**photo, "format": "byte"}), "example": example},
    }
    if field.most == 1:
        bodies |= {media_type: {"schema": binary} for media_type in RAW_TYPES}
    # not in the schemas of the bodies too: generated clients would send it twice, which is refused
    k = {
        "name": "k",
        "in": "query",
        "schema": describe_k(limits),
        "description": "Number of answers per photo. A form or a JSON object may have it as a field instead.",
        "example": 3,
    }
    return {
        "parameters": [k] if field.takes_k else [],
        "requestBody": {"required": True, "content": bodies},
    }


@dataclass(frozen=True)
class Page:
    """Which landmarks are asked for.

    Attributes:
        q: text that their names have, whatever the case, or their id; empty for all.
        limit: most of them.
        offset: how many to pass over.
    """

    q: str = ""
    limit: int = DEFAULT_LANDMARKS
    offset: int = 0


def describe_page() -> list[dict[str, Any]]:
    """Describe the query parameters of /landmarks as OpenAPI."""
    number = {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LANDMARKS, "default": DEFAULT_LANDMARKS}
    parameters = {
        "q": ({"type": "string", "maxLength": MAX_QUERY_LETTERS}, "Text in a name, in any language, or a landmark_id."),
        "limit": (limit, "The most landmarks of the answer."),
        "offset": (number, "How many of those that match to pass over."),
    }
    return [
        {"name": name, "in": "query", "schema": schema, "description": description}
        for name, (schema, description) in parameters.items()
    ]


def show_commands(path: str, field: PhotoField) -> str:
    """Return example commands for all ways to send a photo, in Markdown."""
    address = f"http://127.0.0.1:3000{path}{'?k=3' if field.takes_k else ''}"
    photos = f'"{_EXAMPLE_PHOTO}"' if field.most == 1 else f'["{_EXAMPLE_PHOTO}"]'
    commands = [
        f"curl -F {field.name}=@photo.jpg '{address}'",
        f"curl -H 'content-type: {JSON}' -d '{{\"{field.name}\": {photos}}}' '{address}'",
    ]
    if field.most == 1:
        commands.append(f"curl -H 'content-type: image/jpeg' --data-binary @photo.jpg '{address}'")
    return "```sh\n" + "\n".join(commands) + "\n```"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a request was not answered: problem details, RFC 9457.

    Attributes:
        type: `about:blank`, since the status is the type of the problem.
        title: reason phrase of the HTTP status.
        status: HTTP status.
        detail: what is wrong, and what to do.
        instance: path of the request.
        request_id: id of the request, also in the header `X-Request-ID` and in the log of the service.
        error: same as `detail`, for clients of API versions before 1.2.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    error: str


@dataclass(frozen=True)
class PhotoError:
    """Reason why one photo of a batch was not answered."""

    error: str


@dataclass(frozen=True)
class BatchAnswer:
    """One result per photo, in the order of the photos."""

    results: tuple[Recognition | PhotoError, ...]


@dataclass(frozen=True)
class SimilarPhoto(Neighbour):
    """A photo of the gallery; `thumbnail` is the path of its thumbnail, relative to the address of the service."""

    thumbnail: str | None = field(kw_only=True)


@dataclass(frozen=True)
class SearchAnswer:
    """The most similar photos of the gallery, best first."""

    neighbours: tuple[SimilarPhoto, ...]


@dataclass(frozen=True)
class EmbedAnswer:
    """The embedding of the photo: a vector of unit length, or zeros if the network finds nothing in the photo."""

    embedding: tuple[float, ...]


@dataclass(frozen=True)
class KnownLandmark:
    """A landmark that the model can name, the number of its training photos, and its names in other languages."""

    landmark_id: int
    name: str
    training_photos: int
    translations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LandmarksAnswer:
    """Landmarks that the model can name, ordered by landmark_id, and how many match in all."""

    total: int
    landmarks: tuple[KnownLandmark, ...]


class ModelAnswer(Origin):
    """The served model and its origin; unknown values are null.

    Attributes:
        name: name of the registered model.
        version: its version in the registry.
        alias: alias in the registry that it was packaged by.
        run_id: run that trained it.
        bento: tag of the served Bento.
        api_version: version of the API.
        landmarks: number of landmarks that it can name.
        gallery_photos: number of photos in the gallery.
        image_size: side of its square input, in pixels.
        threshold: the operating point; photos with at least this landmark score show a landmark.
        is_invented: whether its landmarks are those of the demo, which do not exist.
    """

    name: str
    version: str
    alias: str
    run_id: str
    bento: str
    api_version: str
    landmarks: int
    gallery_photos: int
    image_size: int
    threshold: float
    is_invented: bool


_NEIGHBOUR = {
    "image_id": "17660ef415d37059",
    "landmark_id": 138982,
    "name": "Old Lighthouse",
    "similarity": 0.93,
    "author": "A. Photographer",
    "license": "CC BY 3.0",
    "url": "https://example.org/old-lighthouse.jpg",
}
_RECOGNITION = {
    "predictions": [
        {"landmark_id": 138982, "name": "Old Lighthouse", "score": 0.87},
        {"landmark_id": 20409, "name": "Harbour Tower", "score": 0.06},
    ],
    "is_landmark": True,
    "landmark_score": 0.91,
    "confidence": 0.84,
    "threshold": 0.42,
    "nearest": _NEIGHBOUR,
    "agreement": 0.9,
    "distractor_similarity": 0.31,
}
EXAMPLES: Mapping[type, Mapping[str, Any]] = {
    Recognition: _RECOGNITION,
    BatchAnswer: {"results": [_RECOGNITION, {"error": "The photo cannot be read."}]},
    SearchAnswer: {"neighbours": [_NEIGHBOUR | {"thumbnail": f"thumbnails/{_NEIGHBOUR['image_id']}"}]},
    EmbedAnswer: {"embedding": [0.0231511, 0.0, 0.1172903]},
    LandmarksAnswer: {
        "total": 1,
        "landmarks": [
            {
                "landmark_id": 138982,
                "name": "Old Lighthouse",
                "training_photos": 412,
                "translations": {"de": "Alter Leuchtturm"},
            }
        ],
    },
    ModelAnswer: {
        "name": "landmarks",
        "version": "3",
        "alias": "champion",
        "run_id": "0123456789abcdef0123456789abcdef",
        "variant": "plain",
        "registered": "2026-01-31T12:00:00+00:00",
        "metrics": {"top1": 0.81, "top5": 0.94},
        "fingerprint": "5c3f0f",
        "data_fingerprint": "a91b2c",
        "git_commit": "8602ac5",
        "dvc_lock": "77d0e1",
        "bento": "landmarks:v3-1a2b3c4d5e6f",
        "api_version": API_VERSION,
        "landmarks": 44,
        "gallery_photos": 23511,
        "image_size": 64,
        "threshold": 0.42,
        "is_invented": False,
    },
}
