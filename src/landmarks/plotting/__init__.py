"""All charts and photo galleries, as PNG files.

It may import `schema` and `evaluation`. Only `select`, `evaluate` and `landmarks drift` draw. Start with `canvas.py`,
which defines the common style.
"""
