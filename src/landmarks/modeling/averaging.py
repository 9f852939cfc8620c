"""A running average of a network's weights, which answers better than the weights of the last step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf


class WeightAverage:
    """Exponential moving average of variables, trained weights and moving statistics alike.

    The decay grows towards its final value, so that the random weights of the beginning are soon forgotten.

    References:
        Tarvainen and Valpola, "Mean Teachers Are Better Role Models", 2017, section 2.
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float) -> None:
        self._live = list(variables)
        self._steps = keras.Variable(0.0, trainable=False, dtype="float32", name="averaged_steps")
        self._averages = [
            keras.Variable(variable.value, trainable=False, dtype=variable.dtype, name="average")
            for variable in self._live
        ]
        self.update = self._build_update(decay)

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a checkpoint has to hold."""
        return [self._steps, *self._averages]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the place of the live weights for a while."""
        live = [keras.ops.convert_to_numpy(variable.value) for variable in self._live]
        self.apply()
        try:
            yield
        finally:
            for variable, value in zip(self._live, live, strict=True):
                variable.assign(value)

    def apply(self) -> None:
        """Put the averages in the place of the live weights."""
        for variable, average in zip(self._live, self._averages, strict=True):
            variable.assign(average.value)

    def _build_update(self, decay: float) -> Callable[[], None]:
        @tf.function(jit_compile=False)  # type: ignore[untyped-decorator, unused-ignore]
        def update() -> None:
            steps = self._steps.value + 1.0
            self._steps.assign(steps)
            kept = tf.minimum(decay, (1.0 + steps) / (10.0 + steps))
            for average, variable in zip(self._averages, self._live, strict=True):
                if variable.dtype == "float32":
                    average.assign(average.value * kept + variable.value * (1.0 - kept))
                else:  # seeds of dropout
                    average.assign(variable.value)

        return update  # type: ignore[no-any-return, unused-ignore]
