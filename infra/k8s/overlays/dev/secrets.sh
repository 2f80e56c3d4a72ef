#!/bin/sh
# Makes the secrets of this laptop's cluster, once. Whoever has the file has the cluster's blog: nobody else may read it.
set -eu
cd "$(dirname "$0")"
if [ -s secrets.env ]; then
    exit 0
fi
umask 077
new=secrets.env.$$
trap 'rm -f "$new"' EXIT
for name in POSTS_SECRET COMMENTS_SECRET MODERATION_SECRET QUERY_SECRET OPERATOR_TOKEN; do
    value=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
    # A pipe hides that its head failed; a short secret must not pass for one.
    if [ "${#value}" -ne 64 ]; then
        echo "secrets.sh: /dev/urandom gives nothing" >&2
        exit 1
    fi
    echo "$name=$value" >>"$new"
done
# Whole or not at all.
mv "$new" secrets.env
echo "made $(pwd)/secrets.env"
