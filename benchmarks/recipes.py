"""The recipes that the ablations compare: what each changes of the parameters of an experiment.

Those that begin with "no" or "not" leave something out of the recipe of landmarks81, others change or add something.
"""

from typing import Any

Changes = dict[str, dict[str, Any]]

WHOLE = "whole"
_MIXED = {"mixup_fraction": 0.2, "cutmix_fraction": 0.4}
_NO_COLOURS = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
_COSINE = {"decay": "cosine", "warmup_epochs": 1}

ABLATIONS: dict[str, Changes] = {
    WHOLE: {},
    "no augmentation": {
        "augmentation": {
            "flip": False,
            "min_crop_area_fraction": 1.0,
            "max_aspect_ratio": 1.0,
            "center_crop": 1.0,
            "mixup_fraction": 0.0,
            "cutmix_fraction": 0.0,
            **_NO_COLOURS,
        }
    },
    "no flip": {"augmentation": {"flip": False}},
    "no colours": {"augmentation": _NO_COLOURS},
    "no label smoothing": {"train": {"label_smoothing": 0.0}},
    "no weight decay": {"train": {"weight_decay": 0.0}},
    "no averaged weights": {"train": {"ema_decay": None}},
    "not zeroed branches": {"network": {"zero_init_residual": False}},
    "batch-normalisation momentum 0.99": {"network": {"batch_norm_momentum": 0.99}},
    "flattened": {"network": {"pooling": "flatten"}},
    "gem pooling": {"network": {"pooling": "gem"}},
    "512-d layer": {"network": {"embedding_dim": 512}},
    "arcface": {"network": {"head": "arcface", "embedding_dim": 512}},
    "small stem": {"network": {"stem": "small"}},
    "smaller photos at first": {
        "train": {"resizing": [{"until": 0.5, "image_size": 32}, {"until": 0.75, "image_size": 48}]}
    },
    "warm-up": {"train": {"warmup_epochs": 1}},
    "warm-up and cosine": {"train": _COSINE},
    "mixed photos": {"augmentation": _MIXED},
    "mixed photos, warm-up and cosine": {"augmentation": _MIXED, "train": _COSINE},
    "crops from 0.8": {"augmentation": {"min_crop_area_fraction": 0.8}},
    "crops from 0.15": {"augmentation": {"min_crop_area_fraction": 0.15}},
    "rate 5e-4": {"train": {"learning_rate": 5e-4}},
    "rate 2e-3": {"train": {"learning_rate": 2e-3}},
    "weight decay 0.5": {"train": {"weight_decay": 0.5}},
    "averaging 0.9995": {"train": {"ema_decay": 0.9995}},
    "sgd": {"train": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}},
}

# The weights of the whole recipe, asked in another way: nothing is trained again.
ANSWERS: dict[str, Changes] = {
    "no mirror image": {"network": {"flip_tta": False}},
    "not the center": {"augmentation": {"center_crop": 1.0}},
}
