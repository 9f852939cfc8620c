"""The network, its training loop and the bundle it is saved as. The only package that imports Keras."""
