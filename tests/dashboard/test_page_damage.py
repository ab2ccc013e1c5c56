"""The page survives whatever is missing, or is not what it should be."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from .browsing import Serving, ask_again, fits
from .conftest import Open
from .synthetic import live


def damaged(value: Any, damage: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Copies of ``value`` with one key each, at any depth, replaced by ``damage`` (... removes it)."""
    if isinstance(value, dict):
        for key in value:
            copied = dict(value)
            if damage is ...:
                del copied[key]
            else:
                copied[key] = copy.deepcopy(damage)
            yield f"{at}.{key}", copied
            for where, inner in damaged(value[key], damage, f"{at}.{key}"):
                yield where, {**value, key: inner}
    elif isinstance(value, list) and value and isinstance(value[-1], dict):
        for where, inner in damaged(value[-1], damage, f"{at}[-1]"):
            yield where, [*value[:-1], inner]


@pytest.mark.parametrize("damage", [..., None, "words", -1.5, [], {}, [None, "x"]], ids=repr)
def test_whatever_is_missing_or_of_the_wrong_kind_the_rest_is_shown(
    damage: Any, serving: Serving, open_page: Open, complaints: list[str]
) -> None:
    whole = live(0.5, lag=1)
    dashboard, told = serving(whole)
    page = open_page(dashboard.url)
    page.wait_for_selector("#card-return canvas")
    for where, value in [("everything", {}), *damaged(whole, damage)]:
        told.value = value
        ask_again(page)
        assert complaints == [], where
    assert fits(page)
    told.value = whole
    ask_again(page)
    expect(page.locator("#headline")).to_contain_text("% done, about")
    assert complaints == []


def test_a_state_that_is_hardly_there_is_shown_from_the_start(
    serving: Serving, open_page: Open, complaints: list[str]
) -> None:
    for value in ({}, {"now": None}, {"now": {"run": "demo"}}, {"state": "running", "now": {"agents": 4}}):
        page = open_page(serving(value)[0].url, 390)
        expect(page.locator("#card-return")).to_contain_text("The first evaluation is not there yet.")
        assert fits(page)
        page.close()
    assert complaints == []
