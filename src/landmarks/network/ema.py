"""Exponential moving average (EMA) of the weights; it generalises better than the weights of the last step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

STEPS_BETWEEN = 4


class EMA:
    """Exponential moving average of all variables: trained weights and the statistics of batch normalisation.

    The decay starts low and grows to its final value, so that the random initial weights are forgotten quickly. The
    averages are updated every `STEPS_BETWEEN` steps: one pass over all weights costs as much as several photos.

    References:
        Tarvainen and Valpola, "Mean Teachers Are Better Role Models", 2017, section 2.
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float) -> None:
        self._live = list(variables)
        self._steps = keras.Variable(0, trainable=False, dtype="int32", name="steps")
        self._averages = [
            # converted to a tensor, because Keras would share a variable's storage
            keras.Variable(tf.convert_to_tensor(variable.value), trainable=False, dtype=variable.dtype, name="average")
            for variable in self._live
        ]
        self._update = self._build_update(decay**STEPS_BETWEEN)

    @property
    def variables(self) -> list[keras.Variable]:
        """The state that a checkpoint has to save."""
        return [self._steps, *self._averages]

    def count_step(self) -> None:
        """Count one training step, and update the averages on every `STEPS_BETWEEN`-th."""
        self._steps.assign_add(1)
        if int(self._steps) % STEPS_BETWEEN == 0:
            self._update()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the live weights by the averages inside a `with` block."""
        live = [keras.ops.convert_to_numpy(variable.value) for variable in self._live]
        self.apply()
        try:
            yield
        finally:
            for variable, value in zip(self._live, live, strict=True):
                variable.assign(value)

    def apply(self) -> None:
        """Replace the live weights by the averages."""
        for variable, average in zip(self._live, self._averages, strict=True):
            # an average of unit vectors is shorter than 1, so the constraint is applied again
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
                else:  # random states of dropout layers are integers and cannot be averaged
                    average.assign(variable.value)

        return update  # type: ignore[no-any-return, unused-ignore]
