"""Small wrong changes of a module: the operators of `mutants.py`, on its syntax tree.

Left out are texts, annotations, checks of types and of arguments, and what is raised.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Any

# What takes the place of an operator, and which pairs take each other's.
_SWAPS = "Add Sub, Mult Div, BitAnd BitOr, And Or, Lt LtE, Gt GtE, Eq NotEq, Is IsNot, In NotIn"
_OPERATORS: dict[str, type[Any]] = {"Pow": ast.Mult, "FloorDiv": ast.Div, "Mod": ast.Mult}
for _a, _b in (pair.split() for pair in _SWAPS.split(", ")):
    _OPERATORS |= {_a: getattr(ast, _b), _b: getattr(ast, _a)}
_PAIRS = "min max, minimum maximum, sum mean, any all, argmin argmax, zeros ones, floor ceil"
_TWINS = {a: b for pair in _PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
_DROPPED = {"sqrt", "abs", "exp", "log", "log1p", "square", "nan_to_num", "sort"}
_ORDERLESS = {*_TWINS, "dot", "hypot", "add", "multiply", "logical_and", "logical_or", "isclose"}
_UNSEEN = {"isinstance", "issubclass", "getattr", "hasattr", "cast", "TypeVar", "report", "warn"}
_TEXTS = (ast.JoinedStr, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)


def sites(tree: ast.AST) -> list[tuple[ast.stmt, Any, Any]]:
    """Return every change of a module: statement, node, and what takes its place."""
    return list(_sites(tree, ast.Pass()))


def _sites(node: Any, statement: ast.stmt) -> Iterator[tuple[ast.stmt, Any, Any]]:
    if isinstance(node, ast.stmt):
        statement = node
    if _unseen(node):
        return
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.If) and all(isinstance(s, ast.Raise) for s in node.body):
        fields = {"orelse": node.orelse}  # what checks an argument is left out
    else:
        for target, new in _changes(node):
            yield statement, target, new
    for name, value in fields.items():
        if name not in ("annotation", "returns", "decorator_list") and not _axis(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _sites(child, statement)


def _axis(node: Any) -> bool:
    return isinstance(node, ast.keyword) and node.arg == "axis"


def _unseen(node: Any) -> bool:
    """Whether a node is a text, or a check of types or of arguments."""
    match node:
        case ast.FunctionDef(name=name):
            return name in ("__repr__", "__str__", "formula") or name.startswith("check")
        case ast.Call(func=func):
            return _name(func) in _UNSEEN or _name(func).startswith("check_")
        case ast.Expr(value=ast.Constant()) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return isinstance(node, _TEXTS)


def _name(func: Any) -> str:
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def _swapped(op: ast.AST) -> Any:
    return _OPERATORS[type(op).__name__]()


def _with(node: Any, **fields: Any) -> Any:
    new = copy.copy(node)
    vars(new).update(fields)
    return new


def _changes(node: Any) -> Iterator[tuple[Any, Any]]:
    """Give the changes of one node: what is changed, and what takes its place."""
    match node:
        case ast.BinOp(op=op, left=a, right=b) | ast.AugAssign(op=op, target=a, value=b):
            if type(op).__name__ in _OPERATORS and not (_sequence(a) or _sequence(b)):
                yield node, _with(node, op=_swapped(op))
        case ast.BoolOp(op=op):
            yield node, _with(node, op=_swapped(op))
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                yield node, _with(node, ops=[*ops[:i], _swapped(op), *ops[i + 1 :]])
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield node, operand
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield node, ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield node, ast.Constant(1000 * value if 0 < abs(value) < 0.01 else value + 1)
        case ast.keyword(arg="axis", value=value):
            yield node, _with(node, value=ast.Constant(int(ast.unparse(value) == "0")))
        case ast.Attribute(attr="T", value=value):
            yield node, value
        case ast.Slice():
            for name in ("lower", "upper"):
                end = getattr(node, name)
                if end is not None and not isinstance(end, ast.Constant):
                    one = ast.BinOp(end, ast.Sub(), ast.Constant(1))
                    yield node, _with(node, **{name: one})
        case ast.Return(value=ast.BinOp() | ast.Call() as value) if _number(value):
            yield node, _with(node, value=ast.BinOp(ast.Constant(0), ast.Mult(), value))
        case ast.Expr(value=ast.Call() as call) if not _unseen(call):
            yield node, ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield node, ast.Pass()
        case ast.Call(func=func, args=args):
            yield from ((node, new) for new in _calls(node, _name(func), args))
        case ast.comprehension(ifs=tests):
            yield from ((test, ast.UnaryOp(ast.Not(), test)) for test in tests)
    if isinstance(node, ast.AugAssign):
        yield node, ast.Pass()
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        if not isinstance(node.test, ast.UnaryOp | ast.Compare):
            yield node.test, ast.UnaryOp(ast.Not(), node.test)


def _sequence(node: Any) -> bool:
    """Whether an expression is sure to be a text or a list."""
    if isinstance(node, ast.IfExp | ast.BinOp):
        return any(_sequence(n) for n in ast.iter_child_nodes(node))
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return text or isinstance(node, ast.JoinedStr | ast.Tuple | ast.List | ast.ListComp)


def _number(value: Any) -> bool:
    """Whether an expression is sure to be one of numbers."""
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.MatMult)
    return ast.unparse(value.func).startswith(("jnp.", "np."))


def _calls(node: ast.Call, name: str, args: list[Any]) -> Iterator[Any]:
    """Give the changes of a call: of the function, the order of its arguments, or both branches."""
    if name in _TWINS:
        field = "attr" if isinstance(node.func, ast.Attribute) else "id"
        yield _with(node, func=_with(node.func, **{field: _TWINS[name]}))
    if name in _DROPPED and len(args) == 1:
        yield args[0]
    if len(args) == 2 and type(args[0]) is type(args[1]) and name not in _ORDERLESS:
        if not isinstance(args[0], ast.Constant | ast.Lambda | ast.Starred):
            yield _with(node, args=args[::-1])
    if name == "where" and len(args) == 3:
        yield _with(node, args=[args[0], args[2], args[1]])
