# Two images of one static binary each and the public certificate authorities, on an empty base.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY action action
COPY bot bot
COPY internal internal
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/upshift ./action \
 && ln -s upshift /out/upshift-post \
 && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /bot/upshift-bot ./bot

# The Slack bot: docker build --target bot.
FROM scratch AS bot
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /bot/ /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/upshift-bot"]

# The Action, which is what is built without a target. GitHub's runner mounts the workspace as root and sets the working directory
# itself, so there is no USER and no WORKDIR.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /
ENTRYPOINT ["/upshift"]
