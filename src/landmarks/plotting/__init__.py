"""All charts and galleries, as PNG files.

It may import `schema` and `evaluation`. Only `select`, `evaluate` and `landmarks drift` draw. Start with `canvas.py`,
which says how every figure looks.
"""
