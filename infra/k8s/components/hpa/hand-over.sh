#!/bin/sh
# Run this once before you add the component `hpa` to an overlay that is already deployed.
#
# kubectl deletes fields that it applied last time and that a manifest no longer has. The component removes `replicas`
# from the website's Deployment, so the cluster would fall back to the default of one pod until the autoscaler reacts
# (13 to 15 s). This removes `replicas` from kubectl's record of what it applied: the number of pods then stays.
set -eu
applied=$(kubectl --namespace mini-blog apply view-last-applied deployment/client-depl --output yaml)
printf '%s\n' "$applied" | sed '/^  replicas: /d' |
    kubectl --namespace mini-blog apply set-last-applied --filename -
