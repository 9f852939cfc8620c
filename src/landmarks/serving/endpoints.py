"""The endpoints, stated once: the routes and the OpenAPI description are both made from these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from landmarks.params import ServiceParams
from landmarks.recognition import Recognition
from landmarks.serving.answers import BatchAnswer, SearchAnswer


@dataclass(frozen=True)
class Endpoint:
    """A path that takes photos. `name` is the method of the service that answers it."""

    name: str
    field: str
    most_photos: int
    answer: type
    summary: str
    description: str
    example: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Where it is reached."""
        return f"/{self.name}"


_RECOGNITION = {
    "predictions": [
        {"landmark_id": 138982, "name": "Old Lighthouse", "score": 0.87},
        {"landmark_id": 20409, "name": "Harbour Tower", "score": 0.06},
    ],
    "is_landmark": True,
    "threshold": 0.42,
}
_NEIGHBOUR = {
    "image_id": "17660ef415d37059",
    "landmark_id": 138982,
    "name": "Old Lighthouse",
    "similarity": 0.93,
    "author": "A. Photographer",
    "license": "CC BY 3.0",
    "url": "https://example.org/old-lighthouse.jpg",
}


def list_endpoints(limits: ServiceParams) -> tuple[Endpoint, ...]:
    """Every endpoint that takes photos."""
    return (
        Endpoint(
            "classify",
            "image",
            1,
            Recognition,
            "Name the landmark in a photo",
            "Landmarks from most to least likely, whether the photo shows a known landmark at all, and the threshold "
            "the best score is held against.",
            _RECOGNITION,
        ),
        Endpoint(
            "classify_batch",
            "images",
            limits.max_batch_photos,
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
            SearchAnswer,
            "Find similar photos",
            "The photos of the gallery that are most similar to this one, by cosine similarity, closest first.",
            {"neighbours": [_NEIGHBOUR]},
        ),
    )
