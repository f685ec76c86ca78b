# syntax=docker/dockerfile:1

FROM rust:1.95.0-slim-bookworm AS build
# The C compiler, make and cmake are for jemalloc and the TLS library.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin agent-bridge \
    && cp target/release/agent-bridge /usr/local/bin/agent-bridge \
    && mkdir -p /data

# Only glibc and the program: no shell, no package manager, user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/agent-bridge /usr/local/bin/agent-bridge
COPY --from=build --chown=65532:65532 --chmod=700 /data /data
WORKDIR /data

# In a container the listeners must be reachable from outside; those of dialects open only if their
# dialect is on. With addresses that are not loopback the
# daemon starts only with an agent key of your own: set AGENT_TOKEN or AGENT_KEYS.
ENV WEBSOCKET_SERVER_ADDR=0.0.0.0:8080 \
    WEB_SERVER_ADDR=0.0.0.0:8081 \
    SUPERVISOR_ADDR=0.0.0.0:9999 \
    HYBRID_ADDR=0.0.0.0:8888 \
    DATA_DIR=/data \
    LOG_FORMAT=json
EXPOSE 8080 8081
VOLUME /data
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/usr/local/bin/agent-bridge", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/agent-bridge"]
