#!/bin/sh
# Prints the Secrets of the overlay `scale` with new random values, which are stored nowhere else. Run it once:
#
#   sh infra/k8s/components/postgres/secrets.sh | kubectl create --filename -
#
# `create` and not `apply`: a Secret that exists already is left as it is, and reported.
set -eu
new() {
    value=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
    # The pipe hides errors of `head`: a short value must not become a secret.
    if [ "${#value}" -ne 64 ]; then
        echo "secrets.sh: cannot read /dev/urandom" >&2
        exit 1
    fi
}
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: mini-blog\n' "$1"
}

secret mini-blog-secrets
printf 'stringData:\n'
for name in POSTS_SECRET COMMENTS_SECRET MODERATION_SECRET QUERY_SECRET OPERATOR_TOKEN; do
    new
    printf '  %s: "%s"\n' "$name" "$value"
done
for name in posts comments moderation event-bus; do
    new
    secret "postgres-$name"
    # The label: the operator notices a new password at once.
    printf '  labels:\n    cnpg.io/reload: "true"\ntype: kubernetes.io/basic-auth\nstringData:\n'
    printf '  username: "%s"\n  password: "%s"\n' "$name" "$value"
    printf '  url: "postgres://%s:%s@postgres-rw:5432/%s?sslmode=verify-full&sslrootcert=/database/ca.crt"\n' \
        "$name" "$value" "$name"
done
