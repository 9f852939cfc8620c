"""Train, val and test by hash: the split of a photo depends on its own id and the seed alone, except for loans."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from landmarks.params import SelectParams
from landmarks.schema.columns import Split

_MANTISSA_BITS = 53  # as many of the digest's bits as a float64 in [0, 1) can hold


@dataclass(frozen=True)
class Loan:
    """A photo lent to train, because its landmark would have none there; `split` is where it came from."""

    image_id: str
    landmark_id: int
    split: str


def compute_hashes(prefix: str, texts: Iterable[str]) -> npt.NDArray[np.float64]:
    """SHA-256 of `<prefix>:<text>`, its first 53 bits as a number: float64 (n,) in [0, 1).

    >>> compute_hashes("0", ["17660ef415d37059"]).round(6).tolist()
    [0.785319]
    """
    start = f"{prefix}:"
    digests = b"".join(hashlib.sha256(f"{start}{text}".encode()).digest()[:8] for text in texts)
    return (np.frombuffer(digests, ">u8") >> (64 - _MANTISSA_BITS)) / float(1 << _MANTISSA_BITS)


def split_images(images: pd.DataFrame, params: SelectParams) -> tuple[npt.NDArray[np.object_], tuple[Loan, ...]]:
    """Split photos (`image_id`, `landmark_id`): test below `test_fraction`, then val, the rest is train.

    A landmark whose photos all fall outside train lends train the one of lowest hash. It goes back when the landmark
    gets a training photo of its own, or one of lower hash; nothing else ever moves.

    Returns:
        split: texts (n,); and the loans, in order of landmark_id.
    """
    hashes = compute_hashes(str(params.seed), images["image_id"])
    bounds = [params.test_fraction, params.test_fraction + params.val_fraction]
    splits = np.array([Split.TEST, Split.VAL, Split.TRAIN], dtype=object)[np.searchsorted(bounds, hashes, side="right")]
    lent = _find_lent(images["landmark_id"].to_numpy(), hashes, splits == Split.TRAIN)
    rows = images.iloc[lent]
    loans = tuple(
        Loan(image_id, int(landmark_id), str(split))
        for image_id, landmark_id, split in zip(rows["image_id"], rows["landmark_id"], splits[lent], strict=True)
    )
    splits[lent] = Split.TRAIN
    return splits, loans


def split_distractors(distractors: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Add `split`: the half of the categories with the lowest hashes is for val, the other (larger) half for test.

    No category is in both, so that the threshold set on val meets unknown kinds of pictures in test.
    """
    categories = np.sort(distractors["category"].unique().astype(object))
    order = np.argsort(compute_hashes(str(seed), categories), kind="stable")
    for_val = categories[order[: len(categories) // 2]]
    splits = np.where(distractors["category"].isin(for_val), Split.DISTRACTORS_VAL, Split.DISTRACTORS_TEST)
    return distractors.assign(split=pd.Series(splits, index=distractors.index, dtype="str"))


def _find_lent(
    landmark_ids: npt.NDArray[np.int64], hashes: npt.NDArray[np.float64], trained: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Rows of the photos lent to train: the lowest hash of every landmark that has no row in `trained`."""
    rows = np.flatnonzero(~np.isin(landmark_ids, landmark_ids[trained]))
    rows = rows[np.lexsort((hashes[rows], landmark_ids[rows]))]
    _, first = np.unique(landmark_ids[rows], return_index=True)
    return rows[first]
