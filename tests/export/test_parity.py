"""Which exports are alike enough to the network they were made from."""

import pytest

from landmarks.export.parity import Parity
from tiny_workspaces import EXPORT

ALIKE = {"photos": 1000, "differing": 0, "min_cosine": 1.0, "top1_change": 0.0}


@pytest.mark.parametrize(
    ("precision", "found", "deviation"),
    [
        ("float32", {"differing": 5}, None),
        ("float32", {"differing": 6}, "6 of 1000 photos get another landmark, at least 99.50% must get the same"),
        ("float32", {"photos": 100, "differing": 1}, None),
        ("float32", {"photos": 100, "differing": 2}, "2 of 100 photos"),
        ("float32", {"min_cosine": 0.9989}, "the lowest cosine of embeddings is 0.99890, below 0.99900"),
        ("float32", {"top1_change": -0.006}, None),
        ("int8", {"differing": 10, "min_cosine": 0.9}, None),
        ("int8", {"differing": 11}, "11 of 1000 photos"),
        ("int8", {"top1_change": -0.006}, "top-1 changes by -0.60 points, at most 0.50"),
        ("int8", {"top1_change": 0.006}, "top-1 changes by +0.60 points"),
    ],
)
def test_an_export_is_served_only_where_it_answers_alike(
    precision: str, found: dict[str, float], deviation: str | None
) -> None:
    received = Parity(**(ALIKE | found)).find_deviation(precision, EXPORT)  # type: ignore[arg-type]
    assert (received is None) if deviation is None else (deviation in (received or ""))
