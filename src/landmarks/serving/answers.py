"""What the service answers, beside the `Recognition` of `landmarks.recognition`."""

from dataclasses import dataclass, field

from landmarks.recognizer.recognizer import Neighbour, Recognition


@dataclass(frozen=True)
class Problem:
    """Why a request, or one photo of it, was not answered."""

    error: str


@dataclass(frozen=True)
class BatchAnswer:
    """One result per photo, in the order they came in."""

    results: tuple[Recognition | Problem, ...]


@dataclass(frozen=True)
class SimilarPhoto(Neighbour):
    """A photo of the gallery; `thumbnail` is where a small picture of it is found, below the service's address."""

    thumbnail: str | None = field(kw_only=True)


@dataclass(frozen=True)
class SearchAnswer:
    """The most similar photos of the gallery, closest first."""

    neighbours: tuple[SimilarPhoto, ...]


@dataclass(frozen=True)
class EmbedAnswer:
    """The photo as a vector of unit length, or of zeros where the network finds nothing in it."""

    embedding: tuple[float, ...]


@dataclass(frozen=True)
class KnownLandmark:
    """A landmark that the model can name, and how many photos it was trained on."""

    landmark_id: int
    name: str
    training_photos: int


@dataclass(frozen=True)
class LandmarksAnswer:
    """All landmarks that the model can name, by landmark_id."""

    landmarks: tuple[KnownLandmark, ...]


@dataclass(frozen=True)
class ModelAnswer:
    """Which model answers, and the line back to the run that trained it; null where it is not known.

    Attributes:
        name: of the registered model.
        version: its number in the registry.
        alias: that led to it when it was packed.
        run_id: of the run that trained it.
        variant: of the training.
        registered: when, ISO 8601 in UTC.
        metrics: of its evaluation on the test split.
        fingerprint: of the recognizer directory.
        data_fingerprint: of the shards it was trained on.
        git_commit: of the code that registered it.
        dvc_lock: digest of the pipeline's lock file then.
        bento: tag of the package that is served.
        api_version: of these answers.
        landmarks: how many it can name.
        gallery_photos: how many it can find.
        image_size: side of the square it sees, in pixels.
        threshold: least score of a landmark.
    """

    name: str
    version: str
    alias: str
    run_id: str
    variant: str | None
    registered: str | None
    metrics: dict[str, float]
    fingerprint: str | None
    data_fingerprint: str | None
    git_commit: str | None
    dvc_lock: str | None
    bento: str
    api_version: str
    landmarks: int
    gallery_photos: int
    image_size: int
    threshold: float
