# Packs one service that this machine has built: `cargo xtask image posts` prepares the folder.
FROM scratch
COPY root/ /
COPY --chown=65532:65532 data/ /data/
USER 65532:65532
ENTRYPOINT ["/service"]
