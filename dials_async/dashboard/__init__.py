"""The dashboard: a page that shows a run while it trains, and the small server that serves it.

The page is one document without anything from elsewhere; it asks ``/state`` every two seconds and draws what
it gets. Where the state comes from is a ``Source``: the folder of a run, or the process that trains it.
"""

from dials_async.dashboard.server import NO_PASSWORD, Dashboard, serve
from dials_async.dashboard.source import FolderSource, Source

__all__ = ["NO_PASSWORD", "Dashboard", "FolderSource", "Source", "serve"]
