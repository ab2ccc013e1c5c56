#!/bin/sh
# Install Debian packages for the other scripts, saying so: apt-install.sh HINT PACKAGE...
# HINT is what a person can do where apt cannot.
set -eu
hint=$1
shift

give_up() {
    echo "Missing: $*, and $why. $hint" >&2
    exit 1
}

why="there is no apt-get here"
command -v apt-get >/dev/null 2>&1 || give_up "$@"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    why="you are not root"
    command -v sudo >/dev/null 2>&1 || give_up "$@"
    as_root="sudo"
fi
echo "Installing $* (once) ..."
# RUNLEVEL: a package must not start a server of its own, on the usual port, for the whole machine.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
why="apt-get could not install them"
if ! $as_root apt-get update -qq || ! $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null; then
    give_up "$@"
fi
