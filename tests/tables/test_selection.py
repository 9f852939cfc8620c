import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.errors import DataError
from landmarks.params import SelectParams
from landmarks.tables.selection import Selection, compute_hashes, select_images, split_distractors

NO_NAMES = pd.DataFrame({"landmark_id": pd.Series([], dtype="int64"), "name": pd.Series([], dtype="str")})


def make_params(**changes: Any) -> SelectParams:
    values: dict[str, Any] = dict.fromkeys(SelectParams.model_fields)
    values |= {"fraction": 1.0, "val_fraction": 0.1, "test_fraction": 0.1, "seed": 0}
    return SelectParams.model_validate(values | changes)


def make_images(counts: Mapping[int, int]) -> pd.DataFrame:
    landmark_ids = np.repeat(list(counts), list(counts.values()))
    return pd.DataFrame(
        {"image_id": [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(len(landmark_ids))],
         "landmark_id": landmark_ids}
    )  # fmt: skip


def run(counts: Mapping[int, int], **changes: Any) -> Selection:
    return select_images(make_images(counts), NO_NAMES, make_params(**changes))


def hash_slowly(image_id: str, seed: int = 0) -> float:
    return int(hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest()[:16], 16) / 2**64


def split_slowly(photos: Mapping[str, int], params: SelectParams) -> dict[str, str]:
    """The oracle: split by hash, then lend a photo to train for every landmark without one."""
    splits = {}
    for image_id in photos:
        value = hash_slowly(image_id, params.seed)
        below = params.test_fraction + params.val_fraction
        splits[image_id] = "test" if value < params.test_fraction else "val" if value < below else "train"
    for landmark in set(photos.values()):
        own = [image_id for image_id in photos if photos[image_id] == landmark]
        if all(splits[image_id] != "train" for image_id in own):
            splits[min(own, key=lambda image_id: hash_slowly(image_id, params.seed))] = "train"
    return splits


def get_landmarks(selection: Selection) -> dict[int, int]:
    return {one.landmark_id: one.train + one.val + one.test for one in selection.vocabulary}


COUNTS = {5: 10, 3: 4, 8: 7, 12: 4, 1: 1}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, COUNTS),
        ({"min_images": 4}, {3: 4, 5: 10, 8: 7, 12: 4}),
        ({"max_images": 7}, {1: 1, 3: 4, 8: 7, 12: 4}),
        ({"min_images": 4, "max_images": 7}, {3: 4, 8: 7, 12: 4}),
        ({"top_k": 3}, {3: 4, 5: 10, 8: 7}),
        ({"top_k": 99}, COUNTS),
        ({"landmark_ids": (12, 1)}, {1: 1, 12: 4}),
        ({"landmark_ids": (12, 1, 8), "top_k": 2}, {8: 7, 12: 4}),
        ({"max_images": 7, "top_k": 2}, {3: 4, 8: 7}),
        ({"max_images_per_landmark": 5}, {1: 1, 3: 4, 5: 5, 8: 5, 12: 4}),
        ({"min_images": 7, "max_images_per_landmark": 2}, {5: 2, 8: 2}),
    ],
)
def test_rules_keep_the_right_landmarks(rules: dict[str, Any], expected: dict[int, int]) -> None:
    selection = run(COUNTS, **rules)
    assert get_landmarks(selection) == expected
    assert [one.landmark_id for one in selection.vocabulary] == sorted(expected)
    assert [one.label for one in selection.vocabulary] == list(range(len(expected)))
    by_label = dict(zip(selection.images["label"], selection.images["landmark_id"], strict=True))
    assert by_label == dict(enumerate(sorted(expected)))
    assert selection.rules[-1].photos == len(selection.images) == sum(expected.values())


def test_the_order_of_the_table_changes_nothing() -> None:
    images = make_images({5: 40, 3: 30, 8: 20})
    params = make_params(max_images_per_landmark=15, fraction=0.8)
    straight = select_images(images, NO_NAMES, params)
    shuffled = select_images(images.sample(frac=1, random_state=1), NO_NAMES, params)
    pd.testing.assert_frame_equal(straight.images, shuffled.images)
    assert straight.vocabulary == shuffled.vocabulary


@pytest.mark.parametrize("rules", [{"max_images_per_landmark": 300}, {"fraction": 0.3}])
def test_a_subset_keeps_the_proportions_of_the_splits(rules: dict[str, Any]) -> None:
    selection = run({1: 1000, 2: 1000}, **rules)
    parts = selection.images["split"].value_counts(normalize=True)
    assert 500 < len(selection.images) < 700
    assert parts["test"] == pytest.approx(0.1, abs=0.04)
    assert parts["val"] == pytest.approx(0.1, abs=0.04)


def test_a_smaller_cap_or_fraction_keeps_a_subset_of_a_larger_one() -> None:
    for name, small, large in (("max_images_per_landmark", 5, 9), ("fraction", 0.3, 0.6)):
        kept = [set(run({1: 50, 2: 50}, **{name: value}).images["image_id"]) for value in (small, large)]
        assert kept[0] < kept[1]


def test_hashes_and_splits_agree_with_the_oracle() -> None:
    images = make_images({1: 1, 2: 2, 3: 300, 4: 3, 5: 1, 6: 1, 7: 2})
    params = make_params(seed=4, val_fraction=0.3, test_fraction=0.3)
    hashes = compute_hashes("4", images["image_id"])
    np.testing.assert_allclose(hashes, [hash_slowly(image_id, 4) for image_id in images["image_id"]], atol=1e-15)
    assert (hashes * 2**53 % 1 == 0).all()  # multiples of 2**-53, cut off and not rounded
    assert (hashes <= [hash_slowly(image_id, 4) for image_id in images["image_id"]]).all()
    assert (hashes * 2**52 % 1 > 0).any()
    selection = select_images(images, NO_NAMES, params)
    expected = split_slowly(dict(zip(images["image_id"], images["landmark_id"], strict=True)), params)
    assert dict(zip(selection.images["image_id"], selection.images["split"], strict=True)) == expected
    assert selection.loans
    for loan in selection.loans:
        assert (hash_slowly(loan.image_id, 4) < 0.3) == (loan.split == "test")
    for one in selection.vocabulary:
        own = selection.images[selection.images["landmark_id"] == one.landmark_id]["split"].tolist()
        assert (one.train, one.val, one.test) == tuple(own.count(split) for split in ("train", "val", "test"))
        assert one.train >= 1


photo_tables = st.dictionaries(st.text("0123456789abcdef", min_size=16, max_size=16), st.integers(0, 5), min_size=1)


@settings(max_examples=150, deadline=None)
@given(photo_tables, photo_tables)
def test_added_photos_change_the_split_of_loans_only(photos: dict[str, int], added: dict[str, int]) -> None:
    params = make_params(val_fraction=0.3, test_fraction=0.4)
    base = {"f" * 16: 98, "e" * 16: 99} | photos  # a selection needs two landmarks
    before, after = ({}, {})  # type: dict[str, str], dict[str, str]
    loans = set()
    for table, splits in ((base, before), (added | base, after)):
        images = pd.DataFrame({"image_id": list(table), "landmark_id": list(table.values())})
        selection = select_images(images, NO_NAMES, params)
        splits.update(zip(selection.images["image_id"], selection.images["split"], strict=True))
        loans |= {loan.image_id for loan in selection.loans}
        assert splits == split_slowly(table, params)
    moved = {image_id for image_id in before if before[image_id] != after[image_id]}
    assert moved <= loans
    assert all(before[image_id] == "train" for image_id in moved)  # loans return to their split; no photo enters train


def test_the_rule_of_the_study_on_a_table_of_real_size() -> None:
    """On Kaggle's table 500 < photos < 1000 keeps 44 landmarks with 30,281 photos."""
    counts = make_study_counts()
    assert (len(counts), sum(counts.values())) == (81_313, 1_580_470)
    assert sum(count >= 1000 for count in counts.values()) == 7
    assert sum(count <= 500 for count in counts.values()) == 81_262
    selection = run(counts, min_images=501, max_images=999)
    assert (len(selection.vocabulary), len(selection.images)) == (44, 30_281)
    sizes = get_landmarks(selection)
    assert (sizes[149980], sizes[85633]) == (971, 502) == (max(sizes.values()), min(sizes.values()))
    assert [(rule.rule, rule.landmarks) for rule in selection.rules] == [
        ("all", 81_313), ("min_images=501", 51), ("max_images=999", 44),
    ]  # fmt: skip
    assert selection.images["split"].value_counts(normalize=True)["train"] == pytest.approx(0.8, abs=0.01)


def make_study_counts() -> dict[int, int]:
    """Photo counts with all known properties of the real table: the largest, the study's 44, and the totals."""
    giants = {138982: 6272, 126637: 2231, 20409: 1758, 83144: 1741, 113209: 1135, 200_000: 1100, 200_001: 1000}
    study = spread_evenly(30_281 - 971 - 502, 42)
    kept = {149980: 971, 85633: 502} | {190_000 + number: size for number, size in enumerate(study)}
    taken = giants | kept
    left = 1_580_470 - sum(taken.values())
    free = [number for number in range(81_400) if number not in taken][: 81_313 - len(taken)]
    # Half of the small landmarks have 2 photos, one has 500, the others share the rest evenly.
    half = len(free) // 2
    small = [2] * half + [500] + spread_evenly(left - 2 * half - 500, len(free) - half - 1)
    return taken | dict(zip(free, small, strict=True))


def spread_evenly(total: int, parts: int) -> list[int]:
    return [total // parts + (number < total % parts) for number in range(parts)]


@pytest.mark.parametrize(
    ("counts", "rules", "words"),
    [
        ({1: 5, 2: 6}, {"min_images": 100}, "The rule min_images=100 removed the rest"),
        ({1: 5, 2: 6}, {"min_images": 6}, "1 left"),
        ({1: 5, 2: 6}, {"max_images": 5, "fraction": 0.9}, "The rule max_images=5 removed the rest"),
        ({1: 5, 2: 6, 3: 7}, {"top_k": 1}, "min_images=2: 3 landmarks, 18 photos; top_k=1: 1 landmarks, 7 photos"),
        ({1: 5, 2: 6}, {"landmark_ids": (2,)}, "The rule landmark_ids removed the rest"),
        ({1: 5, 2: 6}, {"fraction": 1e-9}, "The rule fraction=1e-09 removed the rest"),
        ({1: 5}, {"min_images": 2}, "acquire other data"),
        ({1: 5, 2: 6}, {"landmark_ids": (1, 2, 77, 70)}, "2 landmarks that have no photos, for example 70, 77"),
        ({1: 5, 2: 6}, {"landmark_ids": tuple(range(1, 9))}, r"6 landmarks .*, for example 3, 4, 5, 6, 7\. Remove"),
    ],
)
def test_a_selection_that_is_too_small_names_the_rule(
    counts: dict[int, int], rules: dict[str, Any], words: str
) -> None:
    if "top_k" in rules:
        rules = rules | {"min_images": 2}
    with pytest.raises(DataError, match=words):
        run(counts, **rules)


def test_names_come_from_the_table_or_are_made_from_the_id() -> None:
    names = pd.DataFrame({"landmark_id": [1, 2, 3, 99], "name": ["Taj Mahal", None, " ", "unused"]})
    selection = select_images(make_images({1: 3, 2: 3, 3: 3, 4: 3}), names, make_params())
    assert [one.name for one in selection.vocabulary] == ["Taj Mahal", "landmark 2", "landmark 3", "landmark 4"]


@pytest.mark.parametrize(("count", "trained", "known"), [(9, 2, 4), (12, 4, 6), (4, 1, 2), (3, 0, 1), (1, 0, 0)])
def test_no_category_is_in_two_splits_and_half_are_for_test(count: int, trained: int, known: int) -> None:
    categories = [f"kind {number}" for number in range(count)]
    distractors = pd.DataFrame({"image_id": [str(n) for n in range(3 * count)], "category": categories * 3})
    split = split_distractors(distractors, seed=3)
    ordered = sorted(categories, key=lambda category: hash_slowly(category, 3))
    expected = {"train": ordered[:trained], "val": ordered[trained:known], "test": ordered[known:]}
    for name, kinds in expected.items():
        assert set(split[split["split"] == f"distractors_{name}"]["category"]) == set(kinds)
    assert split_distractors(distractors.iloc[:0], seed=3)["split"].tolist() == []


def select_given(given: list[str]) -> list[str]:
    images = pd.DataFrame(
        {"image_id": [f"{n:04d}" for n in range(len(given))], "landmark_id": [n % 2 for n in range(len(given))]}
    )
    names = pd.DataFrame({"landmark_id": [0], "name": ["zero"]})
    kept = select_images(images.assign(given_split=given), names, make_params()).images
    return kept.sort_values("image_id")["split"].tolist()


def test_given_splits_are_kept() -> None:
    given = (["train"] * 8 + ["val"] + ["test"]) * 20
    assert select_given(given) == given


@pytest.mark.parametrize(("kind", "missing"), [("test", "val"), ("val", "test")])
def test_a_split_that_is_not_given_is_drawn_from_train(kind: str, missing: str) -> None:
    given = (["train"] * 9 + [kind]) * 100
    splits = select_given(given)
    assert all(split == kind for split, was in zip(splits, given, strict=True) if was == kind)
    drawn = [split for split, was in zip(splits, given, strict=True) if was == "train"]
    assert set(drawn) == {"train", missing}
    assert 50 < drawn.count(missing) < 140


def test_photos_without_a_given_split_are_drawn() -> None:
    given = (["train", "val", "test", ""]) * 300
    drawn = [split for split, was in zip(select_given(given), given, strict=True) if not was]
    assert 10 < drawn.count("test") < 60
    assert 10 < drawn.count("val") < 60
