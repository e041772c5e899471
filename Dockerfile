# The image holds two static binaries and an empty data directory, nothing else.
# `make image` builds the binaries with Go on this machine; no network is needed.
FROM scratch
COPY bin/image/erwik bin/image/erwik-shape /
COPY --chown=65532:65532 bin/image/data /data
ENV ERWIK_DATA=/data
USER 65532:65532
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/erwik", "status"]
ENTRYPOINT ["/erwik"]
CMD ["serve"]
