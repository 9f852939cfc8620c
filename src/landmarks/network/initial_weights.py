"""Initial weights: download published ones once, check their digest, and load them."""

from pathlib import Path
from urllib.error import URLError

import keras

from landmarks.errors import DataError
from landmarks.network.networks import load_backbone_weights

IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
IMAGENET_MD5 = "4d473c1dd8becc155b73f8504c6f6626"


def load_initial_weights(classifier: keras.Model, wanted: str) -> None:
    """Load `imagenet` weights or a weight file into a classifier's backbone; `none` keeps the random ones.

    Raises:
        ArtifactError: the file is missing or holds other weights.
        DataError: the published weights cannot be fetched.
    """
    if wanted != "none":
        path = fetch_weights(IMAGENET_URL, IMAGENET_MD5) if wanted == "imagenet" else wanted
        load_backbone_weights(classifier, path)


def fetch_weights(url: str, md5: str, folder: Path | None = None) -> str:
    """Download a weight file unless the cache has it, and return its path.

    Args:
        url: address of the file.
        md5: expected digest; a file with another one is deleted.
        folder: cache folder; that of Keras by default.

    Raises:
        DataError: the file cannot be downloaded, or has another digest.
    """
    try:
        path: str = keras.utils.get_file(
            origin=url, file_hash=md5, hash_algorithm="md5", cache_subdir="models", cache_dir=folder and str(folder)
        )
    except (OSError, URLError, ValueError) as error:
        raise DataError(
            f"The initial weights could not be fetched from {url}: {error}. Check the network, or download the file "
            "elsewhere and set train.initial_weights to its path."
        ) from error
    except Exception as error:
        # get_file raises a bare Exception when the download itself fails
        if type(error) is not Exception:
            raise
        raise DataError(
            f"The initial weights could not be fetched: {error}. Check the network, or set train.initial_weights to "
            "the path of a file, or to none."
        ) from error
    return path
