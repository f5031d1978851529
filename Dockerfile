# wsecho in a container: docs/how-to/deploy/docker.md.
#
# BASE needs a python3 of 3.11 or newer with venv, and apt-get. Whoever deploys pins it by digest.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
# The compiled part needs a compiler; nothing of it stays. Of Debian's own Python, the headers are a package.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src ./src
COPY twisted ./twisted
ENV WSECHO_REQUIRE_LANE=1
# The last command writes twistd's list of plugins, which cannot be done in a read-only container.
RUN python3 -m venv /opt/wsecho \
    && /opt/wsecho/bin/pip install --no-cache-dir . \
    && /opt/wsecho/bin/twistd --help >/dev/null

FROM ${BASE}
COPY --from=build /opt/wsecho /opt/wsecho
ENV PATH=/opt/wsecho/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes sees that it is not root; it owns nothing.
USER 65532:65532
WORKDIR /tmp
EXPOSE 9000
# What drains; docker stop waits for 10 seconds, which is --drain-timeout itself: --stop-timeout=20.
STOPSIGNAL SIGTERM
# 503 while it drains, or an operator has paused it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=2 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/health/ready', timeout=2)"]
# Inside of the container only.
ENTRYPOINT ["wsecho", "--admin=tcp:9100:interface=127.0.0.1"]
CMD ["--listen=tcp:9000"]
