"""The nine stages of the pipeline: each a short function from paths and params to the path that it wrote.

They may import everything; nothing imports them but the command line. Start with `dvc.yaml`, which names them in
order.
"""
