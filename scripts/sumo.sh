#!/bin/sh
# Install SUMO into the virtual environment, and the libraries of the system that its programs want.
set -eu
bin=.venv/bin

wanted=$(sed -n 's/^eclipse-sumo==//p' constraints.txt)
if ! $bin/python -c "import libsumo, traci, sumo
from importlib.metadata import version
assert {version(name) for name in ('eclipse-sumo', 'libsumo', 'traci')} == {'$wanted'}" 2>/dev/null; then
    echo "Installing SUMO into .venv (once; about a minute) ..."
    $bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[traffic]'
fi
starts() { $bin/python -c 'import libsumo' && "$($bin/python -c 'import sumo; print(sumo.__path__[0])')/bin/sumo" --version; }
if ! starts >/dev/null 2>&1; then
    sh "$(dirname "$0")/apt-install.sh" "SUMO needs them also without a screen." \
        libgl1 libx11-6 libxext6 libxrender1 libatomic1 libexpat1
    starts >/dev/null
fi
