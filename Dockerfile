# One image for every process; compose.yaml says which commands they run.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DATA_DIR=/data STATIC_ROOT=/app/static-built

RUN useradd --system --uid 10001 --home-dir /app darkroom && install --directory --owner darkroom /data
WORKDIR /app

COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements.txt

COPY manage.py ./
COPY config config
COPY uploads uploads
COPY status status
COPY workflows workflows
COPY templates templates
COPY static static
# Whoever built it, and with whatever umask: all may read it, and only root may change it.
RUN SECRET_KEY=only-for-the-build python manage.py collectstatic --no-input && chmod --recursive a+rX .

USER darkroom
VOLUME /data
EXPOSE 8000
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--blocking-threads", "4", "--respawn-failed-workers", "--respawn-interval", "10", "--no-ws", "--http", "1", "--http1-buffer-size", "16384", "config.wsgi:application"]
