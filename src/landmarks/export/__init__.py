"""From a trained network to a recognizer directory: LiteRT export, gallery, fitted scorer and operating point.

It may import `schema`, `shards`, `network` and `recognizer`. Scikit-learn is used only here. Start with
`litert.py` for the network and with `indexing.py` for the gallery.
"""
