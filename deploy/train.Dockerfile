# What the pipeline needs; the repository is mounted where it runs (docs/deployment.md). Build context: the project's root.
FROM python:3.11.13-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 DVC_NO_ANALYTICS=true GX_ANALYTICS_ENABLED=false \
    MLFLOW_DISABLE_TELEMETRY=true BENTOML_DO_NOT_TRACK=true DO_NOT_TRACK=true \
    HOME=/tmp LOGNAME=landmarks PATH=/opt/landmarks/bin:$PATH
RUN apt-get update \
 && apt-get install -y --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home landmarks
WORKDIR /srv/landmarks
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/landmarks \
 && pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock \
 && pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e .
USER landmarks
CMD ["sh", "-c", "dvc repro && landmarks sync && landmarks summary"]
