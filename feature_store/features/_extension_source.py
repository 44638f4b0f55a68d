"""What the text of a user's file says without running it: whether it holds features, and what each of them means."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cached_property

_FEATURES = re.compile(
    r"^\s*(?:from\s+feature_store\.features\b|import\s+feature_store\.features\b|from\s+feature_store\s+import\s.*\bfeatures\b)",
    re.MULTILINE,
)
_FAMILIES = re.compile(r"^\s*(?:from|import)\s+model_zoo\b", re.MULTILINE)
_IGNORED = frozenset({"decorator_list", "annotation", "returns", "type_comment", "type_params", "kind", "ctx"})
"""Parts of a definition that no value depends on. What the decorator declares stands in the hash by itself."""


def holds_features(text: str) -> bool:
    """Whether a file of the extensions folder is one of features: it imports them. All others are model families.

    Told from the text, so that a broken file is named for what it is, and no trainer is imported to find out.
    """
    return _FEATURES.search(text) is not None


def holds_a_family(text: str) -> bool:
    """Whether the file imports the model zoo."""
    return _FAMILIES.search(text) is not None


class Meaning:
    """The definitions of one file, by name, without what does not matter: comments, layout, docstrings, annotations."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree

    @cached_property
    def _statements(self) -> list[tuple[ast.stmt, frozenset[str]]]:
        return [(statement, frozenset(_bound(statement))) for statement in self._tree.body]

    def of(self, function: str) -> str:
        """sha256 of the function of that name and of everything in the file that it reads, directly or not.

        The whole file where the function is not written at its top level, as one made by another function.
        """
        written = any(isinstance(s, ast.FunctionDef) and s.name == function for s in self._tree.body)
        wanted, parts = ({function}, set[int]()) if written else (set[str](), set(range(len(self._tree.body))))
        grown = True
        while grown:
            more = {i for i, (_, bound) in enumerate(self._statements) if i not in parts and bound & wanted}
            parts |= more
            wanted |= {name for i in more for name in _read(self._statements[i][0])}
            grown = bool(more)
        text = "\n".join(_canonical(self._statements[i][0]) for i in sorted(parts))
        return hashlib.sha256(text.encode()).hexdigest()


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement at the top of a file gives a meaning to."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    if isinstance(statement, ast.Expr):
        # NAMES.append(...) binds nothing, and may change all it names.
        yield from _read(statement)
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield from _read(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _read(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _canonical(node: object) -> str:
    """One text for every way to write the same, and the same text in every version of Python."""
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if isinstance(node, list):
        return "[" + ",".join(_canonical(item) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        # Newer versions of Python add fields that are empty where the older ones have none.
        if name not in _IGNORED and value is not None and value != []:
            fields.append(f"{name}={_canonical(_without_docstring(node, value) if name == 'body' else value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _without_docstring(node: ast.AST, body: object) -> object:
    documented = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
    if documented and isinstance(body, list) and isinstance(body[0], ast.Expr):
        first = body[0].value
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            return body[1:]
    return body
