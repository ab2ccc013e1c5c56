"""What all tests share: hypothesis tries the same examples in every run, so that a red test stays red.

Tests are one package, so that each of its files has one name: what lies in the same folder is imported
relatively, anything else as ``tests.FOLDER.FILE``.
"""

import signal

from hypothesis import settings

# Private servers, started with the first test that wants one.
pytest_plugins = ["tests.private_rabbitmq", "tests.private_redis"]

# A shell without job control makes what it starts in the background deaf to Ctrl-C, and what that starts too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: the first example of a test may have to compile a kernel.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
