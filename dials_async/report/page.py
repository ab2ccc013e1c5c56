"""The shell of a page and its building blocks: sections, toggles, and the file itself."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from dials_async.atomic import write_atomically
from dials_async.errors import UsageError

PAPER = "Suau, He, Celikok, Spaan, Oliehoek: Distributed Influence-Augmented Local Simulators, NeurIPS 2022"


def page(title: str, kind: str, name: str, heading: str, lede: str, tiles: str, parts: Sequence[str]) -> str:
    """The whole page; ``tiles`` and ``parts`` are HTML, everything else is plain text."""
    return Template(asset("template.html")).substitute(
        title=escape(title),
        style=asset("style.css"),
        kind=escape(kind),
        name=escape(name),
        headline=escape(heading),
        lede=f'<p class="lede">{escape(lede)}</p>' if lede else "",
        tiles=f'<dl class="tiles">{tiles}</dl>' if tiles else "",
        body="\n".join(part for part in parts if part),
        paper=escape(PAPER),
        script=f"<script>{asset('player.js')}</script>"
        if any("data-player" in part for part in parts)
        else "",
    )


def asset(name: str) -> str:
    """The text of a file of this package."""
    return files("dials_async.report").joinpath(name).read_text(encoding="utf-8")


def write_page(path: Path, text: str) -> Path:
    """All or nothing: a browser never sees half a page."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text, shared=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path


def section(title: str, caption: str, content: str, kind: str = "") -> str:
    """One card; ``caption`` and ``content`` are HTML."""
    if not content:
        return ""
    note = f'<p class="caption">{caption}</p>' if caption else ""
    return f'<section class="card {kind}"><h2>{escape(title)}</h2>{note}{content}</section>'


def details(summary: str, content: str) -> str:
    """Something that opens on a click; ``content`` is HTML."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def toggle_section(title: str, caption: str, panels: Mapping[str, str], name: str, after: str = "") -> str:
    """One of several charts at a time (up to 3): radio buttons and CSS, no script."""
    known = {label: panel for label, panel in panels.items() if panel}
    buttons = "".join(
        f'<input type="radio" name="{name}" id="{name}-{i}"{"" if i else " checked"}>'
        f'<label for="{name}-{i}">{escape(label)}</label>'
        for i, label in enumerate(known)
    )
    shown = "".join(f'<div class="panel">{panel}</div>' for panel in known.values())
    return section(title, caption, f'<div class="toggle">{buttons}{shown}</div>{after}', "learning")
