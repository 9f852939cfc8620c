"""Definitions that all folders share: splits, landmarks and their labels, image format and network outputs.

It imports nothing but errors and files, so everything may import it. Start with `columns.py`.
"""
