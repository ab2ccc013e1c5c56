"""The page of the dashboard as one document: template, style, scripts and the chart library put together.

The document may load nothing: its Content-Security-Policy names the hashes of its own style and script, and
no other place than its own server to ask.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from dials_async.report.page import asset as report_asset

#: In the order in which they use each other.
_SCRIPTS = ("words.js", "charts.js", "heat.js", "cards.js", "tables.js", "page.js")


@dataclass(frozen=True)
class Document:
    """The page, and the policy to send with it."""

    html: str
    content_security_policy: str


@cache
def document() -> Document:
    """The page: the same for every run."""
    style = (
        "\n"
        + "\n".join((report_asset("style.css"), _asset("vendor/uPlot.min.css"), _asset("page.css")))
        + "\n"
    )
    # The licence of uPlot asks to be in every copy, so it is in this one too.
    uplot = f"/*!\n{_asset('vendor/uPlot.LICENSE')}*/\n{_asset('vendor/uPlot.iife.min.js')}"
    own = "\n".join(_asset(name) for name in _SCRIPTS)
    script = f'\n{uplot}\n(() => {{\n"use strict";\n{own}\n}})();\n'
    policy = (
        f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    html = Template(_asset("page.html")).substitute(style=style, script=script)
    return Document(html, policy)


def _asset(name: str) -> str:
    return files("dials_async.dashboard").joinpath(name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
