"""The evaluator follows the store, whatever becomes of it."""

import numpy as np

from dials_async.clock import EVALUATION
from dials_async.evaluation.evaluator import Evaluator
from dials_async.store.base import GroupState
from dials_async.store.memory import MemoryStore
from tests.rollout.contexts import commit_aips, commit_policies, eventually, make_context, running


def commit(store: MemoryStore, version: int, steps: int, weights: np.ndarray) -> None:
    arrays = {"weights": weights, "adam_m": weights, "adam_v": weights}
    store.commit_group(GroupState(0, version, steps, arrays, {"adam_steps": 0}), {EVALUATION})


def test_what_a_store_that_was_put_back_has_forgotten_is_evaluated_again() -> None:
    # Given an evaluator that has evaluated versions 0 to 2 and waits for 3
    context = make_context("schedule.eval_steps=800")
    (weights,) = commit_policies(context, 0)
    commit_aips(context, 0)
    store = context.store
    assert isinstance(store, MemoryStore)
    for version in (1, 2):
        commit(store, version, 800 * version, weights)
    before = MemoryStore()
    evaluator = Evaluator(context, threads=1)
    with running(context, evaluator.run):
        assert eventually(lambda: len(store.records("evaluations")) == 3)
        assert eventually(lambda: evaluator.doing == "waiting for version 3")
        # When the store loses all of that but version 0 and comes to versions 1 and 2 once more
        commit(before, 0, 0, weights)
        snapshot = before.snapshot()
        with store._changed:
            store._groups, store._records = dict(snapshot.groups), {}
        for version in (1, 2):
            commit(store, version, 800 * version, weights)
        # Then they are evaluated once more, and nobody waits for the evaluator
        assert eventually(lambda: len(store.records("evaluations")) == 3)
        assert eventually(lambda: store.held(0, EVALUATION) == [])


def test_a_version_that_is_gone_is_left_out_and_released() -> None:
    context = make_context("schedule.eval_steps=800", "rollout.agents_per_group=2")
    commit_policies(context, 0)
    commit_aips(context, 0)
    first, second = context.groups
    for group in (first, second):
        weights = group.initial_weights(1)
        arrays = {"weights": weights, "adam_m": weights, "adam_v": weights}
        for version in range(1, 6):
            # Version 1 of one group is needed by nobody, and gone
            hold = {EVALUATION} if version == 1 and group is second else set[str]()
            state = GroupState(group.index, version, 800 * version, arrays, {"adam_steps": 0})
            context.store.commit_group(state, hold)
    assert context.store.held(1, EVALUATION) == [1]
    evaluator = Evaluator(context, threads=1)
    with running(context, evaluator.run) as thread:
        assert eventually(lambda: not thread.is_alive())
    assert context.store.held(1, EVALUATION) == []
    assert 1 not in {record["version"] for record in context.store.records("evaluations")}
