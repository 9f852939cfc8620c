"""The nine stages of the pipeline: each a short function from paths and one params section to paths."""
