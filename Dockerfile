# An image of one program, for those who build with Docker. `make images` needs no Docker and gives the same bytes each time.
#
#   docker build --build-arg PROGRAM=hub -t muster-hub .
#   docker build --build-arg PROGRAM=klusterlet -t muster-klusterlet .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG PROGRAM TARGETOS TARGETARCH VERSION=unknown
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -tags grpcnotrace -ldflags "-s -w -X main.version=$VERSION" -o /program ./cmd/$PROGRAM
RUN mkdir -p /root-tmp && chmod 1777 /root-tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /zoneinfo.zip
COPY --from=build /root-tmp /tmp
COPY --from=build /program /program
ENV ZONEINFO=/zoneinfo.zip
USER 65532:65532
ENTRYPOINT ["/program"]
