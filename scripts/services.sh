#!/bin/sh
# Install RabbitMQ, Redis and Prometheus where they are missing. Only the programs are needed: `honcho start` and
# the tests run private servers of their own, on loopback.
set -eu
here=$(dirname "$0")

set --
command -v redis-server >/dev/null 2>&1 || set -- "$@" redis-server
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null 2>&1 || set -- "$@" rabbitmq-server
[ $# -eq 0 ] || sh "$here/apt-install.sh" "Install them by hand (any RabbitMQ from 3.10, any Redis from 7); \
without servers, 'dials train' does the same in one process." "$@"

# Training does without it: no error, and one line.
command -v prometheus >/dev/null 2>&1 || sh "$here/apt-install.sh" "" prometheus 2>/dev/null ||
    echo "Prometheus could not be installed: no charts over time until you do it by hand; all else works without it." >&2
