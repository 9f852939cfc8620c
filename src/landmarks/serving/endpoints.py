"""The endpoints that take photos, stated once: the routes and the OpenAPI description are both made from these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landmarks.params import ServiceParams
from landmarks.recognizer.recognizer import Neighbour, Recognition
from landmarks.serving.answers import BatchAnswer, EmbedAnswer, Problem, SearchAnswer, SimilarPhoto
from landmarks.serving.looking import Wish

THUMBNAILS_PATH = "thumbnails"
_DECIMALS = 7  # of an embedding: more say nothing in float32


@dataclass(frozen=True)
class Endpoint:
    """A path that takes photos.

    Attributes:
        name: the path.
        field: of the form or the JSON object that holds the photos.
        most_photos: in one request.
        wish: what is wanted of each photo, for a given `k`.
        build: the answer, from the `Sight` of each photo (or its `Problem`, where there may be several photos) and
            whether the gallery has thumbnails.
        answer: type of the answer.
        summary: for the description.
        description: in more words.
        example: of an answer.
        takes_k: whether `k` may be sent.
    """

    name: str
    field: str
    most_photos: int
    wish: Callable[[int], Wish]
    build: Callable[[Sequence[Any], bool], Any]
    answer: type
    summary: str
    description: str
    example: Mapping[str, Any]
    takes_k: bool = True

    @property
    def path(self) -> str:
        """Where it is reached."""
        return f"/{self.name}"


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


def list_endpoints(limits: ServiceParams) -> tuple[Endpoint, ...]:
    """Every endpoint that takes photos."""
    return (
        Endpoint(
            "classify",
            "image",
            1,
            lambda k: Wish(landmarks=k),
            lambda found, _: found[0].recognition,
            Recognition,
            "Name the landmark in a photo",
            "Landmarks from most to least likely, and whether the photo shows a landmark at all: the estimated chance "
            "of that, `landmark_score`, must reach the threshold. `confidence` is the estimated chance that the first "
            "prediction is right. Both weigh the first prediction, the most similar photo of the gallery, the part of "
            "the most similar ones that agree, and what known photos of no landmark look like.",
            _RECOGNITION,
        ),
        Endpoint(
            "classify_batch",
            "images",
            limits.max_batch_photos,
            lambda k: Wish(landmarks=k),
            lambda found, _: BatchAnswer(
                tuple(item if isinstance(item, Problem) else item.recognition for item in found)
            ),
            BatchAnswer,
            "Name the landmarks in several photos",
            "One result per photo, in their order. A photo that cannot be read gets its own error; the others are "
            "answered.",
            {"results": [_RECOGNITION, {"error": "The photo cannot be read."}]},
        ),
        Endpoint(
            "search",
            "image",
            1,
            lambda k: Wish(neighbours=k),
            lambda found, has_thumbnails: SearchAnswer(
                tuple(_describe(item, has_thumbnails) for item in found[0].neighbours)
            ),
            SearchAnswer,
            "Find similar photos",
            "The photos of the gallery that are most similar to this one, by cosine similarity, closest first.",
            {"neighbours": [_NEIGHBOUR | {"thumbnail": f"{THUMBNAILS_PATH}/{_NEIGHBOUR['image_id']}"}]},
        ),
        Endpoint(
            "embed",
            "image",
            1,
            lambda _: Wish(),
            lambda found, _: EmbedAnswer(tuple(round(value, _DECIMALS) for value in found[0].embedding.tolist())),
            EmbedAnswer,
            "Turn a photo into a vector",
            "The embedding that `search` compares: of unit length, so that the inner product of two is their cosine.",
            {"embedding": [0.0231511, 0.0, 0.1172903]},
            takes_k=False,
        ),
    )


def _describe(neighbour: Neighbour, has_thumbnails: bool) -> SimilarPhoto:
    thumbnail = f"{THUMBNAILS_PATH}/{neighbour.image_id}" if has_thumbnails else None
    return SimilarPhoto(**vars(neighbour), thumbnail=thumbnail)
