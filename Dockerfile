# The Action's image: one static binary and the public certificate authorities on an empty base. GitHub's runner mounts the
# workspace as root and sets the working directory itself, so there is no USER and no WORKDIR.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY action action
COPY internal internal
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/upshift ./action \
 && ln -s upshift /out/upshift-post

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /
ENTRYPOINT ["/upshift"]
