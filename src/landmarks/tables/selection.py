"""Select landmarks and photos, and split the photos into train, val and test.

The rules apply in this order, each to the result of the one before: explicit landmark ids, minimum and maximum number
of photos per landmark, top k landmarks, cap per landmark, fraction of all photos. Every random choice is a hash of the
photo's id and the seed, so a photo keeps its split when the table is reordered or extended. Photos lent to train are
the only exception, see `split_images`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from landmarks.errors import DataError
from landmarks.params import SelectParams
from landmarks.schema.columns import LANDMARK_SPLITS, Split
from landmarks.schema.vocabulary import TRANSLATION, Landmark

MIN_LANDMARKS = 2
_MANTISSA_BITS = 53  # of the digest: float64 represents all multiples of 2**-53 in [0, 1) exactly


@dataclass(frozen=True)
class RuleCount:
    """The numbers of landmarks and photos left after a rule."""

    rule: str
    landmarks: int
    photos: int


@dataclass(frozen=True)
class Loan:
    """A photo lent to train because its landmark would have no training photo; `split` is the split it came from."""

    image_id: str
    landmark_id: int
    split: str


@dataclass(frozen=True)
class Selection:
    """The result of `select_images`.

    Attributes:
        images: the selected photos, with `label` (int32) and `split`.
        vocabulary: the selected landmarks, by label.
        rules: what each rule left.
        loans: the photos lent to train.
    """

    images: pd.DataFrame
    vocabulary: tuple[Landmark, ...]
    rules: tuple[RuleCount, ...]
    loans: tuple[Loan, ...]


def select_images(images: pd.DataFrame, names: pd.DataFrame, params: SelectParams) -> Selection:
    """Apply the rules to validated `images`, assign labels to the landmarks and split the photos.

    Labels are 0, 1, 2, … in order of landmark_id; photos are sorted by label, then id.

    Raises:
        DataError: a requested landmark has no photos, or fewer than two landmarks are left.
    """
    _check_known(images, params.landmark_ids or ())
    rules = []
    kept = images
    for rule, kept in _apply_rules(images, params):
        rules.append(RuleCount(rule, int(kept["landmark_id"].nunique()), len(kept)))
    _check_enough(rules)
    # Sort before splitting: the result must not depend on the order of the table.
    kept = kept.sort_values(["landmark_id", "image_id"], ignore_index=True)
    splits, loans = split_images(kept, params)
    landmark_ids, labels = np.unique(kept["landmark_id"].to_numpy(), return_inverse=True)
    kept = kept.assign(label=labels.astype(np.int32), split=pd.Series(splits, dtype="str"))
    return Selection(kept, _build_vocabulary(kept, landmark_ids, names), tuple(rules), loans)


def _apply_rules(images: pd.DataFrame, params: SelectParams) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each active rule with the photos that it leaves."""
    yield "all", images
    if params.landmark_ids is not None:
        images = images[images["landmark_id"].isin(params.landmark_ids)]
        yield "landmark_ids", images
    if params.min_images is not None:
        images = images[_count_photos(images) >= params.min_images]
        yield f"min_images={params.min_images}", images
    if params.max_images is not None:
        images = images[_count_photos(images) <= params.max_images]
        yield f"max_images={params.max_images}", images
    if params.top_k is not None:
        landmark_ids, photos = np.unique(images["landmark_id"].to_numpy(), return_counts=True)
        largest = np.argsort(-photos, kind="stable")[: params.top_k]  # stable: ties go to the smaller id
        images = images[images["landmark_id"].isin(landmark_ids[largest])]
        yield f"top_k={params.top_k}", images
    if params.max_images_per_landmark is not None:
        ranked = images[["landmark_id"]].assign(hash=_hash_photos(images, params.seed, "cap"))
        rank = ranked.groupby("landmark_id")["hash"].rank(method="first")
        images = images[rank <= params.max_images_per_landmark]
        yield f"max_images_per_landmark={params.max_images_per_landmark}", images
    if params.fraction < 1:
        images = images[_hash_photos(images, params.seed, "fraction") < params.fraction]
        yield f"fraction={params.fraction:g}", images


def _count_photos(images: pd.DataFrame) -> pd.Series:
    """Return, for each row, the number of photos of its landmark."""
    return images.groupby("landmark_id")["image_id"].transform("size")


def _hash_photos(images: pd.DataFrame, seed: int, purpose: str) -> npt.NDArray[np.float64]:
    # A different hash than for the split: test has the lowest ones there, so keeping the lowest would keep test only.
    return compute_hashes(f"{seed}:{purpose}", images["image_id"])


def _check_known(images: pd.DataFrame, landmark_ids: Sequence[int]) -> None:
    unknown = sorted(set(landmark_ids) - set(images["landmark_id"].unique().tolist()))
    if unknown:
        shown = ", ".join(map(str, unknown[:5]))
        raise DataError(
            f"select.landmark_ids names {len(unknown)} landmarks that have no photos, for example {shown}. "
            "Remove them from params.yaml."
        )


def _check_enough(rules: Sequence[RuleCount]) -> None:
    if rules[-1].landmarks >= MIN_LANDMARKS:
        return
    culprit = next(rule for rule in rules if rule.landmarks < MIN_LANDMARKS)
    counts = "; ".join(f"{rule.rule}: {rule.landmarks} landmarks, {rule.photos} photos" for rule in rules)
    if culprit is rules[0]:
        advice = "The table itself has too few landmarks: acquire other data."
    else:
        advice = f"The rule {culprit.rule} removed the rest: change it in the section `select` of params.yaml."
    raise DataError(
        f"A selection needs at least {MIN_LANDMARKS} landmarks, {rules[-1].landmarks} left ({counts}). {advice}"
    )


def _build_vocabulary(
    images: pd.DataFrame, landmark_ids: npt.NDArray[np.int64], names: pd.DataFrame
) -> tuple[Landmark, ...]:
    given = names.dropna(subset="name")
    known = dict(zip(given["landmark_id"], given["name"].str.strip(), strict=True))
    counts = pd.crosstab(images["label"], images["split"]).reindex(columns=list(LANDMARK_SPLITS), fill_value=0)
    translations = _read_translations(names)
    return tuple(
        Landmark(
            label,
            int(landmark_id),
            known.get(landmark_id) or f"landmark {landmark_id}",
            train=int(train),
            val=int(val),
            test=int(test),
            translations=translations.get(int(landmark_id), {}),
        )
        for label, (landmark_id, (train, val, test)) in enumerate(zip(landmark_ids, counts.to_numpy(), strict=True))
    )


def _read_translations(names: pd.DataFrame) -> dict[int, dict[str, str]]:
    """Return the names in other languages, by landmark and language."""
    found: dict[int, dict[str, str]] = {}
    for column in (str(column) for column in names if str(column).startswith(TRANSLATION)):
        given = names.dropna(subset=column)
        for landmark_id, name in zip(given["landmark_id"], given[column].str.strip(), strict=True):
            if name:
                found.setdefault(int(landmark_id), {})[column.removeprefix(TRANSLATION)] = str(name)
    return found


def compute_hashes(prefix: str, texts: Iterable[str]) -> npt.NDArray[np.float64]:
    """Return the first 53 bits of the SHA-256 of `<prefix>:<text>` as numbers: float64 (n,) in [0, 1).

    >>> compute_hashes("0", ["17660ef415d37059"]).round(6).tolist()
    [0.785319]
    """
    start = f"{prefix}:"
    digests = b"".join(hashlib.sha256(f"{start}{text}".encode()).digest()[:8] for text in texts)
    return (np.frombuffer(digests, ">u8") >> (64 - _MANTISSA_BITS)) / float(1 << _MANTISSA_BITS)


def split_images(images: pd.DataFrame, params: SelectParams) -> tuple[npt.NDArray[np.object_], tuple[Loan, ...]]:
    """Split photos (`image_id`, `landmark_id`) by hash: test below `test_fraction`, then val, the rest is train.

    Photos with a `given_split` stay in it. If no photo is given for val or for test, that split is drawn from train.

    A landmark without a training photo lends its photo with the lowest hash to train. That photo returns to its split
    when the landmark gets a training photo, or one with a lower hash. No other photo ever changes its split.

    Returns:
        The splits, texts (n,), and the loans, in order of landmark_id.
    """
    hashes = compute_hashes(str(params.seed), images["image_id"])
    bounds = [params.test_fraction, params.test_fraction + params.val_fraction]
    splits = np.array([Split.TEST, Split.VAL, Split.TRAIN], dtype=object)[np.searchsorted(bounds, hashes, side="right")]
    if "given_split" in images:
        splits = _keep_given(images["given_split"].fillna("").to_numpy(object), splits)
    lent = _find_lent(images["landmark_id"].to_numpy(), hashes, splits == Split.TRAIN)
    rows = images.iloc[lent]
    loans = tuple(
        Loan(image_id, int(landmark_id), str(split))
        for image_id, landmark_id, split in zip(rows["image_id"], rows["landmark_id"], splits[lent], strict=True)
    )
    splits[lent] = Split.TRAIN
    return splits, loans


def _keep_given(given: npt.NDArray[np.object_], drawn: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Keep the given splits, texts (n,), empty where none is given; others and missing ones are as drawn."""
    from_train = np.isin(drawn, sorted({Split.VAL, Split.TEST} - set(given))) & (given == Split.TRAIN)
    return np.where((given == "") | from_train, drawn, given)


def _find_lent(
    landmark_ids: npt.NDArray[np.int64], hashes: npt.NDArray[np.float64], trained: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return the rows to lend to train: the lowest hash of every landmark that has no row in `trained`."""
    rows = np.flatnonzero(~np.isin(landmark_ids, landmark_ids[trained]))
    rows = rows[np.lexsort((hashes[rows], landmark_ids[rows]))]
    _, first = np.unique(landmark_ids[rows], return_index=True)
    return rows[first]


def split_distractors(distractors: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Add `split`: by the hash of their category, a third of them for train, a sixth for val, and half for test.

    Of an odd number of categories, test gets more. No category is in two splits, so that all measurements are of kinds
    of distractors that training has not seen, and those on test of kinds that no threshold was chosen on.
    """
    categories = np.sort(distractors["category"].unique().astype(object))
    ordered = categories[np.argsort(compute_hashes(str(seed), categories), kind="stable")]
    known = ordered[: len(ordered) // 2]
    trained = known[: 2 * len(known) // 3]
    category = distractors["category"]
    splits = np.select(
        [category.isin(trained), category.isin(known)],
        [Split.DISTRACTORS_TRAIN, Split.DISTRACTORS_VAL],
        Split.DISTRACTORS_TEST,
    )
    return distractors.assign(split=pd.Series(splits, index=distractors.index, dtype="str"))
