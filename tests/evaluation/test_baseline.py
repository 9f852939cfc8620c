"""The shortcut baseline sees file size, sharpness, mean colour and 6 x 6 pixels, and nothing else."""

import numpy as np

from landmarks.evaluation.baseline import describe_photos, measure_baseline_auroc
from landmarks.shards.format import encode_png


def make_photos(count: int, colour: tuple[int, int, int], noise: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        np.clip(np.array(colour) + random.integers(-noise, noise + 1, (24, 24, 3)), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


def test_features_are_bytes_sharpness_mean_colour_and_a_thumbnail() -> None:
    photo = np.zeros((12, 12, 3), np.uint8)
    photo[:2, :2] = [255, 0, 0]
    (features,) = describe_photos([photo])
    assert len(features) == 2 + 3 + 6 * 6 * 3
    np.testing.assert_allclose(features[0], np.log(len(encode_png(photo))))
    grey = photo.mean(axis=2)
    laplacian = [
        grey[row - 1, column] + grey[row + 1, column] + grey[row, column - 1] + grey[row, column + 1]
        - 4 * grey[row, column]
        for row in range(1, 11)
        for column in range(1, 11)
    ]  # fmt: skip
    np.testing.assert_allclose(features[1], np.log(1 + np.var(laplacian)))
    np.testing.assert_allclose(features[2:5], [255 * 4 / 144, 0, 0])
    assert features[5:8].tolist() == [255, 0, 0]
    assert not features[8:].any()


def test_colour_and_bytes_are_seen_and_equal_kinds_are_not() -> None:
    def describe(colour: tuple[int, int, int], noise: int, seed: int) -> np.ndarray:
        return describe_photos(make_photos(40, colour, noise, seed))

    red, blue, rough = ((200, 60, 60), 30), ((60, 60, 200), 30), ((200, 60, 60), 90)
    for other in (blue, rough):
        auroc = measure_baseline_auroc(describe(*red, 0), describe(*other, 1), describe(*red, 2), describe(*other, 3))
        assert auroc is not None
        assert auroc > 0.95
    same = measure_baseline_auroc(describe(*red, 0), describe(*red, 1), describe(*red, 2), describe(*red, 3))
    assert same is not None
    assert 0.25 < same < 0.75


def test_without_one_kind_of_photos_there_is_no_auroc() -> None:
    some, none = describe_photos(make_photos(3, (9, 9, 9), 3, 0)), describe_photos([])
    assert none.shape == (0, 113)
    for place in range(4):
        kinds = [none if place == other else some for other in range(4)]
        assert measure_baseline_auroc(*kinds) is None
