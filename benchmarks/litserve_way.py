"""LitServe with the network of a recognizer and a search of its gallery, for `service_load.py --litserve PYTHON`.

As its documentation writes such a service: decode, predict in batches, encode; one worker. The search is faiss's own,
on one thread. It is no dependency of this project; PYTHON is of an environment that has it, and the packages of ours.

PYTHON benchmarks/litserve_way.py --model DIRECTORY PORT
"""

import argparse
import io
from pathlib import Path
from typing import Any

import faiss
import litserve  # type: ignore[import-not-found, unused-ignore]
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from fastapi import Request
from PIL import Image

from landmarks.processors import count_processors
from landmarks.recognizer.format import BUNDLE_FOLDER, EMBEDDINGS_FILE, INDEX_FOLDER, PCA_FILE, SERVING_MODEL_FILE

BATCH, BATCH_SECONDS, NEIGHBOURS = 8, 0.002, 10


class Landmarks(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """The answers of `/classify`, and the search that ours needs for them."""

    def __init__(self, model: Path) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=BATCH_SECONDS, api_path="/classify")
        self.model = model

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load network and gallery."""
        faiss.omp_set_num_threads(1)
        path = str(self.model / BUNDLE_FOLDER / SERVING_MODEL_FILE)
        self.network = Interpreter(path, num_threads=count_processors()).get_signature_runner()
        ((self.input, details),) = self.network.get_input_details().items()
        self.size = int(details["shape"][1])
        rows = np.load(self.model / INDEX_FOLDER / EMBEDDINGS_FILE).astype(np.float32)
        self.gallery = faiss.IndexScalarQuantizer(
            rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self.gallery.add(rows)
        self.components = np.load(self.model / INDEX_FOLDER / PCA_FILE)

    def decode_request(self, request: Request) -> np.ndarray:
        """Decode the photo of a form, its JPEG at a fraction of its size."""
        photo = Image.open(io.BytesIO(request["image"].file.read()))
        photo.draft("RGB", (2 * self.size, 2 * self.size))
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        square = photo.convert("RGB").resize((self.size, self.size), box=(left, top, left + side, top + side))
        return np.asarray(square)

    def predict(self, photos: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        """Run network and search for a batch."""
        outputs = self.network(**{self.input: np.stack(list(photos))})
        queries = outputs["embedding"] @ self.components
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        similarities, _ = self.gallery.search(np.ascontiguousarray(queries), NEIGHBOURS)
        return list(zip(outputs["probabilities"], similarities, strict=True))

    def encode_response(self, answer: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        """Name the five best."""
        probabilities, similarities = answer
        best = np.argsort(-probabilities)[:5]
        return {
            "predictions": [{"label": int(label), "score": float(probabilities[label])} for label in best],
            "similarity": float(similarities[0]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("port", type=int)
    args = parser.parse_args()
    server = litserve.LitServer(Landmarks(args.model), accelerator="cpu")
    server.run(host="127.0.0.1", port=args.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
