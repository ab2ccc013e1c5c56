"""What all tests share: hypothesis tries the same examples in every run, so that a red test stays red.

Folders with an ``__init__.py`` are packages of their own; pytest puts this folder on ``sys.path``, so a test
may import the slow oracles as ``oracles.warehouse``.
"""

from hypothesis import settings

# Private servers, started with the first test that wants one.
pytest_plugins = ["private_rabbitmq", "private_redis"]

# No deadline: the first example of a test may have to compile a kernel.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
