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
        ("int8", {"photos": 149, "differing": 1, "top1_change": 1 / 149}, None),
        ("int8", {"photos": 149, "differing": 2}, "2 of 149 photos"),
        ("int8", {"photos": 149, "differing": 1, "top1_change": -2 / 149}, "top-1 changes by -1.34 points"),
    ],
)
def test_an_export_is_served_only_where_it_answers_alike(
    precision: str, found: dict[str, float], deviation: str | None
) -> None:
    received = Parity(**(ALIKE | found)).find_deviation(precision, EXPORT)  # type: ignore[arg-type]
    assert (received is None) if deviation is None else (deviation in (received or ""))


@pytest.mark.parametrize(
    ("found", "is_refused"),
    [
        ({"photos": 149, "differing": 4}, False),
        ({"photos": 149, "differing": 5}, True),
        ({"photos": 149, "differing": 2, "top1_change": 2 / 149}, False),
        ({"photos": 149, "differing": 3, "top1_change": -3 / 149}, True),
        ({"photos": 10_000, "differing": 123}, False),
        ({"photos": 10_000, "differing": 124}, True),
    ],
)
def test_other_photos_than_those_it_was_chosen_on_scatter_around_the_limits(
    found: dict[str, float], is_refused: bool
) -> None:
    parity = Parity(**(ALIKE | found))  # type: ignore[arg-type]
    assert (parity.find_deviation("int8", EXPORT, is_sample=True) is not None) is is_refused
