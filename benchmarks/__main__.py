"""`make bench`: the short benchmarks one after the other, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

SHORT = ("prepare_speed", "prepare_memory", "training_speed", "training_memory", "validate_scale")
NEED_PHOTOS = frozenset({"prepare_speed"})


def main() -> None:
    for name in SHORT:
        print(f"\n## {name}\n", flush=True)
        if name in NEED_PHOTOS and "LANDMARKS_SAMPLES" not in os.environ:
            print("left out: set LANDMARKS_SAMPLES to the folder of the sample sets")
            continue
        subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=True)


if __name__ == "__main__":
    main()
