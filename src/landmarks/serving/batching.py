"""Dynamic batching: concurrent requests share one run of the network."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Runs a function on batches of the waiting items, in a thread of its own.

    A batch holds the items that arrived while the previous batch ran. No item waits for a batch to fill up: a single
    client is answered immediately, and batches grow with the load.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result]], most: int) -> None:
        """Start the thread.

        Args:
            run: returns one result per item, in their order; a result must not depend on the rest of the batch.
            most: maximum number of items in a batch.
        """
        self._run = run
        self._most = most
        self._waiting: SimpleQueue[tuple[Item, Future[Result]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def submit(self, item: Item, future: "Future[Result] | None" = None) -> "Future[Result]":
        """Queue an item for the next batch; it is skipped if its future is cancelled before that.

        Args:
            item: the item.
            future: gets the result; a new one if None.
        """
        future = future or Future()
        self._waiting.put((item, future))
        return future

    def close(self) -> None:
        """Run the waiting items, then stop the thread."""
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
                if entry is None:  # from `close`: this batch is the last
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
        except Exception as error:  # noqa: BLE001  # raised where the result is awaited, and must not end this thread
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # one by one, so that only the items that cause the error fail
                for entry in batch:
                    self._answer([entry])
            return
        for (_, future), result in answers:
            future.set_result(result)
