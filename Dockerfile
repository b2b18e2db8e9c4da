# The connector as an image: one static binary, the CA roots, an empty /state.
# Nothing else is in it, so there is no shell to use and no package to patch.
#
#   docker build -t s60-m365-connector .
#   docker buildx build --platform linux/amd64,linux/arm64 -t s60-m365-connector .
#
# The build stage runs on the builder's own platform and cross-compiles.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src

COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download

COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    mkdir -p /out/rootfs/etc/ssl/certs /out/owned/state && \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.version=$VERSION" \
      -o /out/rootfs/s60-m365-connector ./cmd/s60-m365-connector && \
    cp /etc/ssl/certs/ca-certificates.crt /out/rootfs/etc/ssl/certs/ && \
    cp LICENSE /out/rootfs/ && \
    echo 'nonroot:x:65532:65532:nonroot:/state:/sbin/nologin' > /out/rootfs/etc/passwd && \
    echo 'nonroot:x:65532:' > /out/rootfs/etc/group && \
    chmod 0700 /out/owned/state

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="s60-m365-connector" \
      org.opencontainers.image.description="Collects Microsoft 365 and Entra ID audit telemetry and sends it to Secure60" \
      org.opencontainers.image.vendor="Secure60" \
      org.opencontainers.image.source="https://github.com/secure60/s60-m365-connector" \
      org.opencontainers.image.documentation="https://github.com/secure60/s60-m365-connector#readme" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

COPY --from=build /out/rootfs/ /
# A new named volume takes its owner from here. The program writes nowhere else.
COPY --from=build --chown=65532:65532 /out/owned/ /

USER 65532:65532
VOLUME ["/state"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["/s60-m365-connector", "health"]
ENTRYPOINT ["/s60-m365-connector"]
