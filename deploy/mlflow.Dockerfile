# MLflow's server with the driver of PostgreSQL. Build context: the project's root.
FROM python:3.11.13-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
COPY requirements.lock /tmp/
# the locked versions, of these packages and what they need alone
RUN grep -v -- --hash /tmp/requirements.lock | sed 's/ \\$//' > /tmp/versions.txt \
 && pip install --no-cache-dir --disable-pip-version-check -c /tmp/versions.txt mlflow 'psycopg[binary]' \
 && useradd --create-home mlflow \
 && install -d -o mlflow /artifacts
USER mlflow
WORKDIR /home/mlflow
EXPOSE 5000
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--serve-artifacts"]
