"""The demo data set: photos of invented landmarks, drawn by code, the same bytes for the same seed."""

from landmarks.data.demo.album import DemoDistractor, DemoName, DemoPhoto, DemoTables, draw_demo

__all__ = ["DemoDistractor", "DemoName", "DemoPhoto", "DemoTables", "draw_demo"]
