"""Which tests run on one worker, when several share the suite."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

TOGETHER: Final = {
    # They make do with another port than 8270, but not two of them at the same moment.
    "tests/integration/cli/test_demo.py": "demo",
    "tests/integration/test_wheel.py": "demo",
    # Each starts a program once for all its tests: a sidecar, a browser, a worker.
    **{
        path: path
        for path in (
            "tests/fault/test_damaged_spools.py",
            "tests/fault/test_fuzz.py",
            "tests/fault/test_living_spools.py",
            "tests/fault/test_mutants.py",
            "tests/fault/test_power_cut.py",
            "tests/integration/asgi/test_frameworks.py",
            "tests/integration/asgi/test_llm.py",
            "tests/integration/cli/test_commands.py",
            "tests/integration/cli/test_correct.py",
            "tests/integration/cli/test_documents.py",
            "tests/integration/cli/test_held.py",
            "tests/integration/cli/test_live.py",
            "tests/integration/cli/test_month.py",
            "tests/integration/jobs/test_recipes.py",
            "tests/integration/usage/test_alike.py",
            "tests/store/test_postgres.py",
            "tests/web/test_browser.py",
            "tests/web/test_forms.py",
            "tests/web/test_languages.py",
            "tests/web/test_narrow.py",
            "tests/web/test_openapi.py",
            "tests/web/test_paper.py",
        )
    },
}
"""The group of each module that is not cut up; the largest groups are begun first."""


class Together(LoadScopeScheduling):  # type: ignore[misc]  # is not typed
    """Gives whole groups to a worker, and all other tests one by one.

    By path, as marks do not reach whoever schedules: pytest 9.2 does not show what
    ``xdist_group`` writes into the name of a test.
    """

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)
