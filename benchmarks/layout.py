"""How the code is laid out: lines of each folder, sizes of functions, helpers used once, comments, lines of dvc.yaml.

    python benchmarks/layout.py [CHECKOUT ...]

Several checkouts are printed one below the other, for a before and an after.
"""

import argparse
import ast
import re
import statistics
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def count_lines(text: str) -> int:
    return len(text.splitlines())


def list_functions(text: str) -> list[Function]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, Function)]


def measure_body(function: Function) -> int:
    """Lines from the first statement after the docstring to the end."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def is_used_once(function: Function, text: str) -> bool:
    """Whether a private function is named once beside its definition."""
    is_private = function.name.startswith("_") and not function.name.startswith("__")
    return is_private and len(re.findall(rf"\b{function.name}\b", text)) == 2


def has_comment(line: str) -> bool:
    return line.strip().startswith("#") or "  # " in line


def describe_sizes(sizes: list[int]) -> str:
    return f"median {statistics.median(sizes):g}, p90 {sizes[int(0.9 * len(sizes))]}, max {sizes[-1]}"


def describe(checkout: Path) -> str:
    package = checkout / "src" / "landmarks"
    texts = {path: path.read_text() for path in sorted(package.rglob("*.py"))}
    folders: Counter[str] = Counter()
    for path, text in texts.items():
        folders[path.relative_to(package).parent.as_posix()] += count_lines(text)
    functions = [(function, text) for text in texts.values() for function in list_functions(text)]
    sizes = sorted(measure_body(function) for function, _ in functions)
    once = sum(is_used_once(function, text) for function, text in functions)
    lines = [line for text in texts.values() for line in text.splitlines() if line.strip()]
    stages = (checkout / "dvc.yaml").read_text()
    modules_named = len(re.findall(r"src/landmarks/\S+\.py", stages))
    return "\n".join(
        [
            f"{checkout.resolve().name}",
            f"  lines per folder        {', '.join(f'{name} {count}' for name, count in sorted(folders.items()))}",
            f"  modules at the top      {len([path for path in texts if path.parent == package])}",
            f"  functions               {len(functions)}; lines {describe_sizes(sizes)}",
            f"  private, used once      {once} ({100 * once / len(functions):.0f} %)",
            f"  comments per 100 lines  {100 * sum(map(has_comment, lines)) / len(lines):.1f}",
            f"  dvc.yaml                {count_lines(stages)} lines, {modules_named} of them name modules",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[ROOT])
    for checkout in parser.parse_args().checkouts:
        print(describe(checkout))


if __name__ == "__main__":
    main()
