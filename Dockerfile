FROM python:3.13-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# What Relay runs on changes seldom, and Relay often: the locked closure is a layer of its own.
COPY requirements/ /src/requirements/
RUN python -m venv /opt/relay \
    && /opt/relay/bin/pip install --require-hashes --no-deps -r /src/requirements/relay.lock \
    && pip install --require-hashes --no-deps -r /src/requirements/build.lock

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY relay/ relay/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/relay/bin/pip install --no-deps /wheels/*.whl \
    && /opt/relay/bin/pip uninstall --yes pip \
    && /opt/relay/bin/python -m compileall -q /opt/relay/lib


FROM python:3.13-slim

# A fixed number, so that Kubernetes' runAsNonRoot and the owner of a mounted volume can name it.
RUN groupadd --system --gid 10001 relay \
    && useradd --system --uid 10001 --gid relay --home-dir /var/lib/relay --shell /usr/sbin/nologin relay \
    && install --directory --owner relay --group relay --mode 0700 /var/lib/relay \
    && install --directory --mode 0755 /etc/relay

COPY --from=build /opt/relay /opt/relay

# Only the volume is written to: the root may be mounted read-only.
ENV PATH="/opt/relay/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RELAY_CONFIG=/etc/relay \
    RELAY_HOST=0.0.0.0 \
    RELAY_PORT=8080 \
    RELAY_JOURNAL=sqlite:////var/lib/relay/relay.db

USER 10001:10001
WORKDIR /var/lib/relay
VOLUME ["/var/lib/relay"]
EXPOSE 8080
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"RELAY_PORT\"]}/livez', timeout=2)"]

ENTRYPOINT ["relay"]
CMD ["serve"]
