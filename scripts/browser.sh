#!/bin/sh
# Install Chromium where it is missing: the tests look at the dashboard page in it. Nothing else needs it.
# With a font: none comes with it, and a page without letters has other widths.
set -eu
command -v chromium >/dev/null 2>&1 ||
    exec sh "$(dirname "$0")/apt-install.sh" "Install it by hand; only the tests need it, as the program 'chromium'." chromium fonts-dejavu-core
