"""Values shared by all tables: splits, the label of distractors, status and attribution columns."""

from enum import StrEnum


class Split(StrEnum):
    """The part of the data that a photo belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    DISTRACTORS_TRAIN = "distractors_train"
    DISTRACTORS_VAL = "distractors_val"
    DISTRACTORS_TEST = "distractors_test"


LANDMARK_SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)
DISTRACTOR_LABEL = -1
OK = "ok"  # status of a photo that is in a shard; every other status is an error message
ATTRIBUTIONS_FILE = "attributions.parquet"
DEMO_AUTHOR = "landmarks demo"  # of the demo's photos, whose landmarks do not exist
ATTRIBUTION_COLUMNS = ("author", "license", "url", "title")  # empty texts if unknown
