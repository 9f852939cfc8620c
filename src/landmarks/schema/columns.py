"""The words that every table and artefact shares: splits, and the columns that say who made a photo."""

from enum import StrEnum


class Split(StrEnum):
    """Which part of the data a photo belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    DISTRACTORS_VAL = "distractors_val"
    DISTRACTORS_TEST = "distractors_test"


LANDMARK_SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)
DISTRACTOR_LABEL = -1
OK = "ok"  # the status of a photo that is in a shard
ATTRIBUTIONS_FILE = "attributions.parquet"
ATTRIBUTION_COLUMNS = ("author", "license", "url", "title")  # empty texts where unknown
