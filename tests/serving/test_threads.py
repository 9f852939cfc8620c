"""The numeric libraries of the service have one thread each, however many processors there are."""

import os
import subprocess
import sys

import pytest

CODE = """
import os
from landmarks import processors
processors.count_processors = lambda: 4
import bentoml, landmarks.serving.service
from threadpoolctl import threadpool_info
print({pool["num_threads"] for pool in threadpool_info()}, os.environ["OPENBLAS_NUM_THREADS"])
"""


@pytest.mark.slow
def test_numeric_libraries_of_the_service_do_not_spin() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", CODE], env=environ, check=True, capture_output=True, text=True)
    assert done.stdout == "{1} 1\n"
