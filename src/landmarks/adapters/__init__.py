"""One file per outside tool: Great Expectations, MLflow and BentoML."""
