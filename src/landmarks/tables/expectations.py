"""Great Expectations: judges suites of expectations and shows the result as Data Docs."""

import importlib
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from landmarks.files import replace_folder
from landmarks.tables.suites import Suite

MOST_EXAMPLES = 5
# More than are shown, because the rows of one repeated id count as one example.
_KEPT_EXAMPLES = 20


@dataclass(frozen=True)
class Outcome:
    """How one expectation came out, with up to five examples of what broke it."""

    name: str
    success: bool
    unexpected_count: int
    examples: tuple[str, ...]


def check_suites(suites: Sequence[Suite], docs: Path) -> tuple[Outcome, ...]:
    """Judge every table and write the Data Docs to the folder `docs`.

    Returns:
        One outcome per expectation, in the order given.
    """
    gx = _import_great_expectations()
    with replace_folder(docs) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecations and pandas', about nothing that we pass
        context = _build_context(gx, folder)
        source = context.data_sources.add_pandas("landmarks")
        outcomes = [outcome for suite in suites for outcome in _check_suite(gx, context, source, suite)]
        context.build_data_docs()
    return tuple(outcomes)


def _import_great_expectations() -> ModuleType:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported, so before that
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports a module that Python deprecates
        return importlib.import_module("great_expectations")


def _build_context(gx: ModuleType, docs: Path) -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())}
    site = {
        "class_name": "SiteBuilder",
        "store_backend": store,
        "show_how_to_buttons": False,  # they advertise
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context.add_data_docs_site("landmarks", site)
    context.delete_data_docs_site("local_site")  # the default one, in a temporary folder nobody looks at
    return context


def _check_suite(gx: ModuleType, context: Any, source: Any, suite: Suite) -> list[Outcome]:
    batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=context.suites.add(_build_suite(gx, suite)))
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": suite.frame},
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": _KEPT_EXAMPLES},
        run_id=gx.RunIdentifier(run_name="validate"),
    )
    by_name = {one.expectation_config.meta["name"]: one for one in result.results}
    return [_read_outcome(suite, expectation.name, by_name[expectation.name]) for expectation in suite.expectations]


def _build_suite(gx: ModuleType, suite: Suite) -> Any:
    built = gx.ExpectationSuite(name=suite.name)
    configuration = gx.expectations.expectation_configuration.ExpectationConfiguration
    for expectation in suite.expectations:
        column = {} if expectation.column is None else {"column": expectation.column}
        built.add_expectation_configuration(
            configuration(
                type=f"expect_{expectation.kind}",
                kwargs=column | dict(expectation.arguments),
                meta={"name": expectation.name},
                description=expectation.sentence,
            )
        )
    return built


def _read_outcome(suite: Suite, name: str, one: Any) -> Outcome:
    facts = one.result
    if "unexpected_count" in facts:
        rows, values = facts["partial_unexpected_index_list"], facts["partial_unexpected_list"]
        examples = [_show(suite, row, value) for row, value in zip(rows, values, strict=True)]
        return Outcome(name, bool(one.success), int(facts["unexpected_count"]), _keep_some(examples))
    if one.success:
        return Outcome(name, True, 0, ())
    return Outcome(name, False, 1, (_tell_found(facts, one.exception_info)[:300],))


def _tell_found(facts: dict[str, Any], exceptions: dict[str, Any]) -> str:
    if "observed_value" in facts:
        return f"found {facts.get('details', {}).get('mismatched') or facts['observed_value']}"
    # One expectation raises one exception, or one for each metric that it is made of.
    raised = [exceptions, *(one for one in exceptions.values() if isinstance(one, dict))]
    return next(str(one["exception_message"]) for one in raised if one.get("exception_message"))


def _keep_some(examples: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(examples))[:MOST_EXAMPLES]


def _show(suite: Suite, row: int, value: Any) -> str:
    """How a row is called in an example: its key, with the value that broke the expectation where that says more."""
    key = suite.frame[suite.key].loc[row]
    called = f"row {row + 1}" if pd.isna(key) else str(key)[:80]
    if pd.isna(value) or value == key:
        return called
    shown = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"{called}: {str(shown)[:120]}"
