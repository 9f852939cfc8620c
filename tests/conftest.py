"""Settings every test needs before anything is imported: nothing phones home, TensorFlow is quiet and repeatable."""

import os

os.environ.update(
    DVC_NO_ANALYTICS="true",
    GX_ANALYTICS_ENABLED="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    BENTOML_DO_NOT_TRACK="true",
    DO_NOT_TRACK="true",
    TF_CPP_MIN_LOG_LEVEL="3",
    TF_ENABLE_ONEDNN_OPTS="1",
    CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
)
