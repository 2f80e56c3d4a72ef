# One service, built on this machine: `cargo xtask image posts` makes the folder that this packs.
FROM scratch
COPY root/ /
COPY --chown=65532:65532 data/ /data/
USER 65532:65532
ENTRYPOINT ["/service"]
