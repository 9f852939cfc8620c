"""The summary of a network is whole on every terminal."""

import os

import keras
import pytest

from landmarks.network.trained import describe_layers


@pytest.mark.parametrize("columns", ["20", "300", None])
def test_a_summary_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str | None) -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a_layer_with_a_long_name")], name="tiny")
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    lines = describe_layers(network).splitlines()
    assert any("a_layer_with_a_long_name (Dense)" in line and "15" in line for line in lines)
    assert max(map(len, lines)) == 110
    assert os.environ.get("COLUMNS") == columns
