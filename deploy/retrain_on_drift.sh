#!/bin/sh
# Compares the request log with the test photos, and trains again where what is served has drifted: for a timer
# (deploy/systemd) or cron. Exits with 0 when nothing drifted or the new model is packed, with 1 when it cannot tell, when
# the training fails, or when the new model does not pass the gate.
#   LANDMARKS_REQUEST_LOG   the log of the service
#   LANDMARKS_PHOTOS        where set, the folder or table that `landmarks init` was called with: it looks for new photos
#   LANDMARKS_DISTRACTORS, LANDMARKS_NAME   its options, where it had any
set -u
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
export PATH

landmarks drift "${LANDMARKS_REQUEST_LOG:?names the request log of the service}"
status=$?
[ "$status" -eq 3 ] || exit "$status"
if [ -n "${LANDMARKS_PHOTOS:-}" ]; then
    landmarks init "$LANDMARKS_PHOTOS" ${LANDMARKS_DISTRACTORS:+--distractors "$LANDMARKS_DISTRACTORS"} \
        ${LANDMARKS_NAME:+--name "$LANDMARKS_NAME"} || exit 1
fi
dvc repro && landmarks sync || exit 1
