"""The nine stages of the pipeline: each is a short function from paths and params to the path that it wrote.

They may import every folder; only the command line imports them. Start with `dvc.yaml`, which lists them in order.
"""
