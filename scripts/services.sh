#!/bin/sh
# Install RabbitMQ and Redis where they are missing. Only the programs are needed: `honcho start` and the tests
# run private servers of their own, on loopback.
set -eu

missing=""
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null 2>&1 || missing="$missing rabbitmq-server"
[ -n "$missing" ] || exit 0

give_up() {
    echo "Missing:$missing, and $1. Install them by hand (any RabbitMQ from 3.10, any Redis from 7);" >&2
    echo "without servers, 'dials train' does the same in one process." >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get here"
if [ "$(id -u)" -eq 0 ]; then as_root=""; else
    command -v sudo >/dev/null 2>&1 || give_up "you are not root"
    as_root="sudo"
fi
echo "Installing$missing (once) ..."
# The package would start a server of its own, on the usual port, for the whole machine.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
if ! $as_root apt-get update -qq || ! $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
    give_up "apt-get could not install them"
fi
