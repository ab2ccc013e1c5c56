"""What all tests share: hypothesis tries the same examples in every run, so that a red test stays red.

Folders with an ``__init__.py`` are packages of their own; pytest puts this folder on ``sys.path``, so a test
may import the slow oracles as ``oracles.warehouse``.
"""

import signal

from hypothesis import settings

# Private servers, started with the first test that wants one.
pytest_plugins = ["private_rabbitmq", "private_redis"]

# A shell without job control makes what it starts in the background deaf to Ctrl-C, and what that starts too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: the first example of a test may have to compile a kernel.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
