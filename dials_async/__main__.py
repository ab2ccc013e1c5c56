"""``python -m dials_async`` is the command ``dials``."""

from dials_async.cli import main

main()
