"""The exponential moving average (EMA) of a network's weights, which answers better than those of the last step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

STEPS_BETWEEN = 4


class EMA:
    """Exponential moving average of variables, trained weights and moving statistics alike.

    The decay grows towards its final value, so that the random weights of the beginning are soon forgotten. Weights
    are looked at every few steps, since a pass over all of them takes as long as the network takes for some photos.

    References:
        Tarvainen and Valpola, "Mean Teachers Are Better Role Models", 2017, section 2.
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float) -> None:
        self._live = list(variables)
        self._steps = keras.Variable(0, trainable=False, dtype="int32", name="steps")
        self._averages = [
            # a tensor: Keras would share a variable that it is given
            keras.Variable(tf.convert_to_tensor(variable.value), trainable=False, dtype=variable.dtype, name="average")
            for variable in self._live
        ]
        self._update = self._build_update(decay**STEPS_BETWEEN)

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a checkpoint has to hold."""
        return [self._steps, *self._averages]

    def count_step(self) -> None:
        """Tell of a step of the training; every few of them the averages move."""
        self._steps.assign_add(1)
        if int(self._steps) % STEPS_BETWEEN == 0:
            self._update()

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
            # the mean of directions of unit length is shorter
            constrain = getattr(variable, "constraint", None)
            variable.assign(constrain(average.value) if constrain else average.value)

    def _build_update(self, decay: float) -> Callable[[], None]:
        @tf.function(jit_compile=False)  # type: ignore[untyped-decorator, unused-ignore]
        def update() -> None:
            updates = tf.cast(self._steps.value // STEPS_BETWEEN, tf.float32)
            kept = tf.minimum(decay, updates / (9.0 + updates))
            for average, variable in zip(self._averages, self._live, strict=True):
                if variable.dtype == "float32":
                    average.assign(average.value * kept + variable.value * (1.0 - kept))
                else:  # seeds of dropout
                    average.assign(variable.value)

        return update  # type: ignore[no-any-return, unused-ignore]
