"""Batches: who comes together is answered together, and each gets its own result."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest

from landmarks.serving.batching import Batcher


class Recorder:
    """Squares numbers, refuses 13, remembers the batches, and waits before each until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.started.release()
        self.go.acquire()
        if 13 in items:
            raise ValueError("unlucky")
        return [item * item for item in items]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def let_go(recorder: Recorder, times: int = 100) -> None:
    recorder.go.release(times)


def test_what_comes_during_a_run_makes_up_the_next(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher(recorder, most=4)
    futures = [batcher.submit(0)]
    recorder.started.acquire()
    futures += [batcher.submit(number) for number in range(1, 7)]
    let_go(recorder)
    assert [future.result(5) for future in futures] == [number**2 for number in range(7)]
    assert recorder.batches == [[0], [1, 2, 3, 4], [5, 6]]
    batcher.close()


def test_an_error_hits_only_those_that_cause_it(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher(recorder, most=8)
    first = batcher.submit(0)
    recorder.started.acquire()
    futures = [batcher.submit(number) for number in (5, 13, 6)]
    let_go(recorder)
    assert first.result(5) == 0
    assert (futures[0].result(5), futures[2].result(5)) == (25, 36)
    with pytest.raises(ValueError, match="unlucky"):
        futures[1].result(5)
    assert batcher.submit(2).result(5) == 4
    batcher.close()


def test_what_was_cancelled_is_not_run(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher(recorder, most=8)
    batcher.submit(0)
    recorder.started.acquire()
    futures = [batcher.submit(number) for number in (1, 2, 3)]
    assert futures[1].cancel()
    let_go(recorder)
    assert futures[2].result(5) == 9
    assert recorder.batches == [[0], [1, 3]]
    batcher.close()


def test_closing_answers_what_waits(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher(recorder, most=2)
    futures = [batcher.submit(number) for number in range(5)]
    let_go(recorder)
    batcher.close()
    assert [future.result(0) for future in futures] == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("run", [lambda items: items[1:], lambda items: [*items, 0]])
def test_a_wrong_number_of_results_is_an_error(run: Callable[[Sequence[int]], Sequence[int]]) -> None:
    batcher: Batcher[int, int] = Batcher(run, most=2)
    future: Future[int] = batcher.submit(1)
    with pytest.raises(ValueError, match="zip"):
        future.result(5)
    batcher.close()
