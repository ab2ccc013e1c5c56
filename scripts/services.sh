#!/bin/sh
# Install RabbitMQ and Redis where they are missing. Only the programs are needed: `honcho start` and the tests
# run private servers of their own, on loopback.
set -eu

set --
command -v redis-server >/dev/null 2>&1 || set -- "$@" redis-server
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null 2>&1 || set -- "$@" rabbitmq-server
[ $# -gt 0 ] || exit 0
exec sh "$(dirname "$0")/apt-install.sh" "Install them by hand (any RabbitMQ from 3.10, any Redis from 7); \
without servers, 'dials train' does the same in one process." "$@"
