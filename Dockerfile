# syntax=docker/dockerfile:1
FROM python:3.13-slim-bookworm AS build
WORKDIR /app
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -r requirements.txt

FROM python:3.13-slim-bookworm
# Nothing of the server needs to be root, and nothing but /data needs to be written.
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin codexproxy \
    && install -d -o codexproxy -g codexproxy -m 700 /data
COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py LICENSE ./
COPY codexproxy codexproxy
COPY accounts accounts
COPY proxy proxy
COPY usage usage
COPY requestlogs requestlogs
COPY templates templates
RUN /venv/bin/python -m compileall -q .
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CODEXPROXY_DATA_DIR=/data
# By its number: Kubernetes cannot tell that a name is not root's.
USER 10001
VOLUME /data
EXPOSE 2455
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:2455/health/ready', timeout=4)"]
# `serve` drains on SIGTERM for up to 30 s, then waits for a token that is being refreshed, and writes what it
# has; give it longer before it is killed (compose: stop_grace_period).
ENTRYPOINT ["python", "manage.py"]
CMD ["serve", "--host", "0.0.0.0"]
