"""Mutation testing: small changes of the numeric and the parsing modules, each of which the unit tests must notice.

The changes are those of cosmic-ray's operators; see `_OPERATORS`. A mutant is never written to disk: the process that
runs the tests gets its text in place of the module's. `equivalent_mutants.csv` lists mutants that no test can notice,
and why; they are not tried.
"""

import ast
import csv
import difflib
import importlib.util
import multiprocessing
import os
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import CodeType
from typing import Any

from chaos.campaign import Tally

PROMISE = "At least 95 % of the small changes that alter what a numeric or a parsing module does fail a unit test."
TRIES = 60

_PROJECT = Path(__file__).parents[1]
_EQUIVALENTS = Path(__file__).with_name("equivalent_mutants.csv")
_MOST_SURVIVORS = 0.05
_SECONDS = 300  # for the tests of one mutant; one that never ends is noticed
_WORKERS = 2
# the modules, and the tests of each below tests/
_MODULES = {
    "drift/two_sample.py": ("drift/test_two_sample.py",),
    "evaluation/gap.py": ("evaluation/test_gap.py",),
    "evaluation/metrics.py": ("evaluation/test_metrics.py",),
    "evaluation/ood.py": ("evaluation/test_report.py",),
    "evaluation/retrieval.py": ("evaluation/test_retrieval.py",),
    "export/fitting.py": ("export/test_fitting.py", "recognizer/test_logistic.py"),
    "kaggle/files.py": ("kaggle/test_kaggle_files.py",),
    "files/parsing.py": ("files/test_files.py",),
    "photos/headers.py": ("photos/test_decoding.py", "photos/test_headers.py", "photos/test_webp.py"),
    "photos/orientation.py": ("photos/test_headers.py",),
    "photos/perceptual_hash.py": ("photos/test_perceptual_hash.py",),
    "photos/zip_members.py": ("photos/test_sources.py",),
    "recognizer/logistic.py": ("recognizer/test_logistic.py",),
    "recognizer/pca.py": ("recognizer/test_pca.py",),
    "recognizer/scorer.py": ("recognizer/test_scorer.py",),
    "recognizer/similarity_index.py": ("recognizer/test_similarity_index.py", "recognizer/test_pca.py"),
    "schema/vocabulary.py": ("schema/test_vocabulary.py",),
    "shards/format.py": ("shards/test_format.py",),
    "shards/plan.py": ("shards/test_plan.py",),
    "shards/tfrecord.py": ("shards/test_format.py",),
    "tables/selection.py": ("tables/test_selection.py",),
}
# of the replacements of an operator by each of the others, those that are most like it
_OPERATORS = (
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop"),
    *(
        f"ReplaceBinaryOperator_{pair}"
        for pair in (
            *("Add_Sub", "Sub_Add", "Mul_Div", "Mul_Add", "Div_Mul", "Div_FloorDiv", "FloorDiv_Div", "Mod_FloorDiv"),
            *("Pow_Mul", "RShift_LShift", "LShift_RShift", "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitOr"),
        )
    ),
    *(
        f"ReplaceComparisonOperator_{pair}"
        for pair in (
            *(
                "Eq_NotEq",
                "Eq_LtE",
                "Eq_GtE",
                "NotEq_Eq",
                "NotEq_Lt",
                "NotEq_Gt",
                "Lt_LtE",
                "Lt_GtE",
                "LtE_Lt",
                "LtE_Gt",
            ),
            *("Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt", "Is_IsNot", "IsNot_Is"),
        )
    ),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("USub_UAdd", "Invert_UAdd", "Delete_Not", "Delete_USub")),
)
# imported once, in the process that all test processes are forked from
_PRELOADED = [
    "pytest",
    "hypothesis",
    "pandas",
    "pyarrow.csv",
    "pyarrow.parquet",
    "scipy.stats",
    "PIL.Image",
    "pydantic",
]


@dataclass(frozen=True)
class Mutant:
    """A module with a small change: its path below `src/landmarks`, its text, and the changed lines."""

    module: str
    text: str
    line: int
    before: str
    after: str

    def describe(self) -> str:
        """Name the place and the change."""
        return f"src/landmarks/{self.module}:{self.line}: `{self.before}` -> `{self.after}`"


def attack(tries: int, seed: int, scratch: Path, only: Sequence[str] = ()) -> Tally:  # noqa: ARG001
    """Run the unit tests on `tries` mutants drawn at random, evenly over the lines of the modules."""
    tally = Tally()
    mutants = draw_mutants(tries, seed, only or tuple(_MODULES))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with ThreadPoolExecutor(_WORKERS) as pool:
        unchanged = [Mutant(module, _read(module), 0, "", "") for module in {mutant.module: 0 for mutant in mutants}]
        for mutant, noticed in zip(unchanged, pool.map(lambda one: _is_noticed(one, context), unchanged), strict=True):
            if noticed:
                tally.fail(f"the tests of {mutant.module} fail without a change")
        survivors = []
        for mutant, noticed in zip(mutants, pool.map(lambda one: _is_noticed(one, context), mutants), strict=True):
            tally.count("noticed" if noticed else "not noticed")
            if not noticed:
                survivors.append(mutant.describe())
                print(f"  not noticed: {mutant.describe()}", flush=True)
    if len(survivors) > _MOST_SURVIVORS * len(mutants):
        for survivor in survivors:
            tally.fail(survivor)
    return tally


def draw_mutants(tries: int, seed: int, modules: Sequence[str]) -> list[Mutant]:
    """Draw mutants of modules without repetition, each line with equal chances."""
    generator = random.Random(seed)
    known = _read_equivalents()
    by_line: dict[tuple[str, int], list[tuple[str, str, int]]] = {}
    for module in modules:
        for operator, occurrence, line in _list_mutations(_read(module)):
            by_line.setdefault((module, line), []).append((module, operator, occurrence))
    waiting = [generator.sample(group, len(group)) for group in by_line.values()]
    drawn: list[Mutant] = []
    while waiting and len(drawn) < tries:
        generator.shuffle(waiting)
        for group in waiting:
            mutant = _mutate(*group.pop())
            if mutant and (mutant.module, mutant.before, mutant.after) not in known and len(drawn) < tries:
                drawn.append(mutant)
        waiting = [group for group in waiting if group]
    return drawn


def _read(module: str) -> str:
    return (_PROJECT / "src" / "landmarks" / module).read_text(encoding="utf-8")


def _read_equivalents() -> set[tuple[str, str, str]]:
    with _EQUIVALENTS.open(newline="", encoding="utf-8") as stream:
        return {(row["module"], row["before"], row["after"]) for row in csv.DictReader(stream)}


def _list_mutations(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield operator, occurrence and line of all mutations of a text."""
    from cosmic_ray.ast import ast_nodes, get_ast

    tree = get_ast(text)
    for name in _OPERATORS:
        operator = _make_operator(name)
        positions = (position for node in ast_nodes(tree) for position in operator.mutation_positions(node))
        for occurrence, ((line, _), _) in enumerate(positions):
            yield name, occurrence, line


def _make_operator(name: str) -> Any:
    from cosmic_ray.operators.provider import OperatorProvider

    return OperatorProvider()[name]()


def _mutate(module: str, name: str, occurrence: int) -> Mutant | None:
    """Make a mutant; None if it changes nothing but annotations and guards, or is not Python."""
    from cosmic_ray.mutating import mutate_code

    text = _read(module)
    mutated = mutate_code(text, _make_operator(name), occurrence)
    try:
        if mutated is None or _strip(mutated) == _strip(text):
            return None
    except SyntaxError:
        return None
    before, after = text.splitlines(), mutated.splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    _, first, last, new_first, new_last = next(code for code in matcher.get_opcodes() if code[0] != "equal")
    shown = (" ".join(line.strip() for line in lines) for lines in (before[first:last], after[new_first:new_last]))
    return Mutant(module, mutated, first + 1, *shown)


class _Simplifier(ast.NodeTransformer):
    """Removes what cannot change an answer: annotations, and the guards `frozen` and `strict`."""

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        return None if node.arg in ("frozen", "strict") else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _strip(text: str) -> str:
    return ast.dump(_Simplifier().visit(ast.parse(text)))


def _is_noticed(mutant: Mutant, context: ForkServerContext) -> bool:
    """Run the tests of a mutant in a process of their own, and return whether they fail or do not end."""
    tests = [str(_PROJECT / "tests" / name) for name in _MODULES[mutant.module]]
    process = context.Process(target=_test, args=(mutant.module, mutant.text, tests))
    process.start()
    process.join(_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode != 0


class _Loader(SourceFileLoader):
    """Loads a text in place of the one in the file."""

    text = ""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return compile(self.text, self.path, "exec")


class _Finder:
    """Finds one module, with another text."""

    def __init__(self, module: str, text: str) -> None:
        self._name = "landmarks." + module.removesuffix(".py").replace("/", ".")
        self._loader = _Loader(self._name, str(_PROJECT / "src" / "landmarks" / module))
        self._loader.text = text

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self._loader) if name == self._name else None


def _test(module: str, text: str, tests: list[str]) -> None:
    import hypothesis
    import pytest

    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.chdir(_PROJECT)
    sys.path.insert(0, str(_PROJECT))
    sys.meta_path.insert(0, _Finder(module, text))
    # the same examples for every mutant; no limit of time, which a busy machine would break
    hypothesis.settings.register_profile("mutants", derandomize=True, deadline=None, database=None)
    hypothesis.settings.load_profile("mutants")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]))
