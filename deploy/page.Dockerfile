# The page alone: it knows the service by HTTP. Build context: the project's root.
FROM python:3.11.13-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 STREAMLIT_BROWSER_GATHER_USAGE_STATS=false
COPY requirements.lock /tmp/
# the locked versions, of these packages and what they need alone
RUN grep -v -- --hash /tmp/requirements.lock | sed 's/ \\$//' > /tmp/versions.txt \
 && pip install --no-cache-dir --disable-pip-version-check -c /tmp/versions.txt httpx pillow streamlit \
 && useradd --create-home page
USER page
WORKDIR /srv
COPY app app
EXPOSE 8501
CMD ["python", "-m", "streamlit", "run", "app/page.py", "--server.address", "0.0.0.0"]
