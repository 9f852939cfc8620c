"""Requests that come at the same time share one run of the network."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Runs a function over whatever is waiting, all of it at once, in one thread of its own.

    A batch is what came while the one before it ran. So nobody waits for company: a single client is served at once,
    and the more clients there are, the larger the batches become.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result]], most: int) -> None:
        """Start the thread.

        Args:
            run: gives one result for each item, in their order, whatever else is in the batch.
            most: items in one batch.
        """
        self._run = run
        self._most = most
        self._waiting: SimpleQueue[tuple[Item, Future[Result]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> "Future[Result]":
        """Put an item into the next batch; where it is cancelled before that, it is left out."""
        future: Future[Result] = Future()
        self._waiting.put((item, future))
        return future

    def close(self) -> None:
        """Answer what is waiting, then stop."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, goes_on = [first], True
            while goes_on and len(batch) < self._most:
                try:
                    entry = self._waiting.get_nowait()
                except Empty:
                    break
                if entry is None:
                    goes_on = False
                else:
                    batch.append(entry)
            self._answer([(item, future) for item, future in batch if future.set_running_or_notify_cancel()])
            if not goes_on:
                return

    def _answer(self, batch: "Sequence[tuple[Item, Future[Result]]]") -> None:
        try:
            results = self._run([item for item, _ in batch]) if batch else ()
            answers = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001  # it belongs to whoever waits for the result
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # only those that cause it are to suffer from it
                for entry in batch:
                    self._answer([entry])
            return
        for (_, future), result in answers:
            future.set_result(result)
