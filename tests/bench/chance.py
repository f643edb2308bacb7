"""Quick tests without luck: of property tests a few examples, always the same, and no search for smaller ones."""

from __future__ import annotations

import os
import sys

import pytest

EXAMPLES = 20

SWEEPS = (
    "at_any_moment",
    "flipped_bits",
    "truncated_log",
    "killed_and_stopped_again",
    "no_budget_is_overshot",
    "documented_rate",
    "few_requests_per_job",
    "everything_ends_once_and_never",
    "slow_start_costs",
    "lost_answers_restart",
    "any_prefix_of_the_journal",
    "the_second_run_waits",
    "thawed_owner",
    "keeps_what_was_acknowledged",
)
"""Tests that try every moment or every byte, or run thousands of jobs, by part of their names: they find what nobody
thought of, and need seconds for it. What the cores promise must be held without them.
"""


class Fixed:
    """A pytest plugin that leaves sweeps out and fixes chance."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not any(sweep in item.name for sweep in SWEEPS)]
        from hypothesis import HealthCheck, Phase, settings  # not before pytest has seen it

        for item in items:
            test = getattr(item, "obj", None)
            test = getattr(test, "__func__", test)
            own = getattr(test, "_hypothesis_internal_use_settings", None)
            if own is not None:
                # Hypothesis has no public way to change the settings of a test that is there already.
                test._hypothesis_internal_use_settings = settings(
                    own,
                    max_examples=min(EXAMPLES, own.max_examples),
                    derandomize=True,
                    database=None,
                    deadline=None,
                    phases=(Phase.explicit, Phase.generate),
                    suppress_health_check=list(HealthCheck),
                )


def same_hashes() -> None:
    """Begin the program anew with the hashes of texts that every other run has, so that sets are in the same order."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONHASHSEED": "0"})
