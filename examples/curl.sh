#!/bin/sh
# A job by curl alone: submit a seed, wait for it, fetch its picture; then watch a job of ten arrive.
#
#   sh examples/curl.sh [SEED] [FILE]
#
# SEEDMILL_API_URL says where the API is, SEEDMILL_API_KEY who asks, where it wants to know that.
set -eu
api=${SEEDMILL_API_URL:-http://127.0.0.1:8000}
seed=${1:-42}
file=${2:-seed.png}

call() {
  curl --silent --show-error --fail-with-body ${SEEDMILL_API_KEY:+--header "Authorization: Bearer $SEEDMILL_API_KEY"} "$@"
}

echo "== one seed: the answer comes when it is done, or after 30 seconds"
call "$api/v1/jobs" --json "{\"seed\": $seed}" --header "Prefer: wait=30" \
  --header "Idempotency-Key: example-$seed-$$"
echo

echo "== its picture: a redirect to the object store"
call --location --output "$file" "$api/v1/images/$seed"
echo "$file has $(wc -c < "$file" | tr -d ' ') bytes"

echo "== a range under an id of our own, seed by seed as they are done"
job=example-$$
call --request PUT "$api/v1/jobs/$job" --json '{"range": "100..109", "metadata": {"who": "curl.sh"}}'
echo
call --no-buffer "$api/v1/jobs/$job/events" | grep --line-buffered -E '^(event|id): (status|result|[0-9])'

echo "== the first three of its results"
call "$api/v1/jobs/$job/results?limit=3"
echo
