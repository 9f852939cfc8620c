"""Which landmarks and photos are used, and which split each photo belongs to.

The rules work one after the other, each on what the last one left: the explicit list, the fewest and the most photos a
landmark may have, the top k landmarks, the cap per landmark, the fraction of all photos. What is random comes from a
digest of the photo's id and the seed, so neither the order of the table nor photos added to it move a photo.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pandas as pd

from landmarks.errors import DataError
from landmarks.params import SelectParams
from landmarks.schema.columns import LANDMARK_SPLITS
from landmarks.schema.vocabulary import Landmark
from landmarks.tables.splitting import Loan, compute_hashes, split_images

FEWEST_LANDMARKS = 2
_CATEGORY_URL = re.compile(r"^https?://commons\.wikimedia\.org/wiki/Category:")
_ESCAPED = re.compile(r"_|%[0-9A-Fa-f]{2}")


@dataclass(frozen=True)
class RuleCount:
    """What a rule left."""

    rule: str
    landmarks: int
    photos: int


@dataclass(frozen=True)
class Selection:
    """The selected photos with `label` (int32) and `split`, and how they came about."""

    images: pd.DataFrame
    vocabulary: tuple[Landmark, ...]
    rules: tuple[RuleCount, ...]
    loans: tuple[Loan, ...]


def select_images(images: pd.DataFrame, names: pd.DataFrame, params: SelectParams) -> Selection:
    """Apply the rules to validated `images`, number the landmarks and split the photos.

    Labels are 0, 1, 2, … in order of landmark_id; photos come in order of label, then id.

    Raises:
        DataError: a landmark asked for has no photos, or fewer than two landmarks are left.
    """
    _refuse_unknown(images, params.landmark_ids or ())
    rules = []
    kept = images
    for rule, kept in _apply_rules(images, params):
        rules.append(RuleCount(rule, int(kept["landmark_id"].nunique()), len(kept)))
    _refuse_too_few(rules)
    kept = kept.sort_values(["landmark_id", "image_id"], ignore_index=True)
    splits, loans = split_images(kept, params)
    landmark_ids, labels = np.unique(kept["landmark_id"].to_numpy(), return_inverse=True)
    kept = kept.assign(label=labels.astype(np.int32), split=pd.Series(splits, dtype="str"))
    return Selection(kept, _build_vocabulary(kept, landmark_ids, names), tuple(rules), loans)


def decode_name(text: str) -> str:
    """The readable form of a name; names of Wikimedia categories are percent-decoded, without their underscores.

    >>> decode_name("Sparkassen-Arena,_G%C3%B6ttingen")
    'Sparkassen-Arena, Göttingen'
    >>> decode_name("50 % off_beat")
    '50 % off_beat'
    """
    name = _CATEGORY_URL.sub("", text.strip())
    if " " not in name and _ESCAPED.search(name):
        name = unquote(name).replace("_", " ")
    return " ".join(name.split())


def _apply_rules(images: pd.DataFrame, params: SelectParams) -> Iterator[tuple[str, pd.DataFrame]]:
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
        images = images[images["landmark_id"].isin(_find_largest(images, params.top_k))]
        yield f"top_k={params.top_k}", images
    if params.max_images_per_landmark is not None:
        images = images[_rank_photos(images, params.seed) <= params.max_images_per_landmark]
        yield f"max_images_per_landmark={params.max_images_per_landmark}", images
    if params.fraction < 1:
        images = images[_hash_photos(images, params.seed, "fraction") < params.fraction]
        yield f"fraction={params.fraction:g}", images


def _count_photos(images: pd.DataFrame) -> pd.Series:
    """For each row, how many photos its landmark has."""
    return images.groupby("landmark_id")["image_id"].transform("size")


def _find_largest(images: pd.DataFrame, count: int) -> npt.NDArray[np.int64]:
    """The landmarks with the most photos; of equal ones, those with the smaller id."""
    landmark_ids, photos = np.unique(images["landmark_id"].to_numpy(), return_counts=True)
    return np.asarray(landmark_ids[np.argsort(-photos, kind="stable")[:count]])


def _rank_photos(images: pd.DataFrame, seed: int) -> pd.Series:
    """For each row, the rank of its photo among those of its landmark, by hash, from 1."""
    ranked = images[["landmark_id"]].assign(hash=_hash_photos(images, seed, "cap"))
    return ranked.groupby("landmark_id")["hash"].rank(method="first")


def _hash_photos(images: pd.DataFrame, seed: int, purpose: str) -> npt.NDArray[np.float64]:
    # With the hash of the split itself, whatever keeps the lowest would keep test photos only.
    return compute_hashes(f"{seed}:{purpose}", images["image_id"])


def _refuse_unknown(images: pd.DataFrame, landmark_ids: Sequence[int]) -> None:
    unknown = sorted(set(landmark_ids) - set(images["landmark_id"].unique().tolist()))
    if unknown:
        shown = ", ".join(map(str, unknown[:5]))
        raise DataError(
            f"select.landmark_ids names {len(unknown)} landmarks that have no photos, for example {shown}. "
            "Take them out of params.yaml."
        )


def _refuse_too_few(rules: Sequence[RuleCount]) -> None:
    if rules[-1].landmarks >= FEWEST_LANDMARKS:
        return
    culprit = next(rule for rule in rules if rule.landmarks < FEWEST_LANDMARKS)
    counts = "; ".join(f"{rule.rule}: {rule.landmarks} landmarks, {rule.photos} photos" for rule in rules)
    if culprit is rules[0]:
        advice = "The table itself has too few landmarks: acquire other data."
    else:
        advice = f"It was {culprit.rule} that removed the rest: change it in the select section of params.yaml."
    raise DataError(
        f"A selection needs at least {FEWEST_LANDMARKS} landmarks, {rules[-1].landmarks} left ({counts}). {advice}"
    )


def _build_vocabulary(
    images: pd.DataFrame, landmark_ids: npt.NDArray[np.int64], names: pd.DataFrame
) -> tuple[Landmark, ...]:
    given = names.dropna(subset="name")
    known = dict(zip(given["landmark_id"], map(decode_name, given["name"]), strict=True))
    counts = pd.crosstab(images["label"], images["split"]).reindex(columns=list(LANDMARK_SPLITS), fill_value=0)
    return tuple(
        Landmark(label, int(landmark_id), known.get(landmark_id) or f"landmark {landmark_id}", *map(int, row))
        for label, (landmark_id, row) in enumerate(zip(landmark_ids, counts.to_numpy(), strict=True))
    )
