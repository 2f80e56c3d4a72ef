#!/bin/sh
# Generates the secrets of this laptop's cluster once. Only the owner may read the file: it gives access to everything.
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
    # The pipe hides errors of `head`: a short value must not become a secret.
    if [ "${#value}" -ne 64 ]; then
        echo "secrets.sh: cannot read /dev/urandom" >&2
        exit 1
    fi
    echo "$name=$value" >>"$new"
done
# Atomic: the file is complete or missing.
mv "$new" secrets.env
echo "generated $(pwd)/secrets.env"
