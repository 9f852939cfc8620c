# The page alone: it knows the service by HTTP. Build context: the project's root.
FROM python:3.11.13-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 STREAMLIT_BROWSER_GATHER_USAGE_STATS=false
COPY deploy/page.lock /tmp/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/page.lock \
 && useradd --create-home page
USER page
WORKDIR /srv
COPY app app
EXPOSE 8501
CMD ["python", "-m", "streamlit", "run", "app/page.py", "--server.address", "0.0.0.0"]
