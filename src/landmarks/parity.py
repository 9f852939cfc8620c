"""How alike two networks answer, and whether an export is alike enough to be served."""

from dataclasses import dataclass

from landmarks.params import ExportParams


@dataclass(frozen=True)
class Parity:
    """How alike two networks answer.

    Attributes:
        photos: that were compared.
        differing: of them, those with another most likely landmark.
        min_cosine: between the two embeddings of a photo, the lowest.
        top1_change: of the part of photos whose most likely landmark is the right one, from the Keras model to the
            other.
    """

    photos: int
    differing: int
    min_cosine: float
    top1_change: float

    def find_fault(self, precision: str, params: ExportParams) -> str | None:
        """What keeps an export of this precision from being served; None where nothing does."""
        least = params.min_agreement if precision == "int8" else params.min_float_agreement
        found = f"{self.differing} of {self.photos} photos get another landmark"
        if self.differing > max(1.0, (1.0 - least) * self.photos):
            return f"{found}, of which {least:.2%} have to stay the same"
        if precision == "int8" and abs(self.top1_change) > params.max_top1_change:
            return f"top-1 changes by {100 * self.top1_change:+.2f} points, at most {100 * params.max_top1_change:.2f}"
        if precision == "float32" and self.min_cosine < params.min_float_cosine:
            return f"the lowest cosine of embeddings is {self.min_cosine:.5f}, below {params.min_float_cosine:.5f}"
        return None
