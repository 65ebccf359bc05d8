"""Statements of a configuration script, walked node by node."""

from __future__ import annotations

import ast
from collections.abc import Callable

from xmcompat.config import allowed, methods, py2names
from xmcompat.config.functions import Break, Continue, Frame, Names, Return, ScriptFunction
from xmcompat.config.interpret_expr import Expressions
from xmcompat.config.modules import ADVICE, Module, ScriptHost, Stream, Vars, ip_helpers, modules
from xmcompat.config.py2values import Budget, ExceptionClass, Raised, py2_str
from xmcompat.errors import UnsafeConfig

_COMPOUND = {
    "ClassDef": "'class'", "With": "'with'", "AsyncWith": "'async'", "AsyncFor": "'async'", "AsyncFunctionDef": "'async'",
    "Nonlocal": "'nonlocal'", "AnnAssign": "an annotation", "Match": "'match'", "TryStar": "'except*'",
}  # fmt: skip


class Interpreter(Expressions):
    """Runs one script. ``names`` are its file-level names, ``lines`` where each was assigned last.

    ``globals`` are those that a ``global`` statement has set apart: the file sees them, xm takes none for a setting.
    """

    def __init__(self, budget: Budget, host: ScriptHost, variables: dict[str, object]) -> None:
        self.warnings: list[str] = []
        super().__init__(budget, modules(host, budget, self._warn, self._method))
        self.names: dict[str, object] = dict(variables)
        self.lines: dict[str, int] = {}
        self.globals: dict[str, object] = {}
        self.declared: set[str] = set()
        self.frames: list[Frame] = []
        self.handled: list[Raised] = []
        self.predefined.update(ip_helpers(lambda name: self.unsafe(name, "write the address itself")))
        self.predefined.update({
            "sys": self.modules["sys"], "os": self.modules["os"], "re": self.modules["re"],
            "xm_vars": Vars(self._check_variable), "xm_file": budget.path, "xm_help": 0,
            "_print_": self._print, "_print_to_": self._print_elsewhere,
        })  # fmt: skip

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _method(self, value: object, name: str) -> Callable[..., object] | None:
        return methods.method(value, name, self.builtins)

    def _check_variable(self, name: str, function: object) -> None:
        """xm_vars.check(): the function's result becomes the variable; its error is told with the name."""
        try:
            self.names[name] = self.call(function, name, self.names.get(name))
        except Raised as error:
            if error.kind == "SystemExit":
                raise
            raise Raised(error.kind, f"{name} - {error.text}") from None
        self.lines[name] = self.budget.line

    def _print(self, *values: object) -> None:
        self._print_elsewhere(self.modules["sys"].attribute("stdout"), *values)

    def _print_elsewhere(self, target: object, *values: object) -> None:
        if not isinstance(target, Stream):
            raise Raised("AttributeError", "print takes sys.stdout or sys.stderr here")
        texts = [py2_str(value, self.budget) for value in values]
        self.budget.room(sum(map(len, texts)))
        target.write(" ".join(texts) + "\n")

    def written(self) -> tuple[str, str]:
        """What the script has written on stdout and stderr."""
        streams = (self.modules["sys"].attribute(name) for name in ("stdout", "stderr"))
        out, err = ("".join(stream.written) if isinstance(stream, Stream) else "" for stream in streams)
        return out, err

    # -- names and functions

    def lookup(self, name: str) -> object:
        declared = self.declared
        if self.frames:
            frame = self.frames[-1]
            declared = frame.declared
            for scope in () if name in declared else (frame.names, *frame.around):
                if name in scope:
                    return scope[name]
        # a function sees the file's names too: under xm it would fail
        for scope in (self.globals, self.names) if name in declared else (self.names, self.globals):
            if name in scope:
                return scope[name]
        return super().lookup(name)

    def _scope(self, name: str) -> Names:
        """Where NAME is bound."""
        if name in (self.frames[-1].declared if self.frames else self.declared):
            return self.globals
        return self.frames[-1].names if self.frames else self.names

    def assign(self, target: ast.expr, value: object) -> None:
        self.budget.step()
        if isinstance(target, ast.Name):
            self._bind(target.id, value, target.lineno)
        elif isinstance(target, ast.Tuple | ast.List):
            items = self.iterate(value)
            if len(items) != len(target.elts):
                raise Raised("ValueError", "the number of values does not match the number of names")
            for one, item in zip(target.elts, items, strict=True):
                self.assign(one, item)
        elif isinstance(target, ast.Subscript):
            self._store(self.evaluate(target.value), target.slice, value)
        else:
            raise self.unsafe("assignment to an attribute", "assign to a variable")

    def _bind(self, name: str, value: object, line: int) -> None:
        scope = self._scope(name)
        scope[name] = value
        if scope is self.names or scope is self.globals:
            self.lines[name] = line

    def _store(self, container: object, index_node: ast.expr, value: object) -> None:
        if isinstance(container, dict):
            self.budget.room(1)
            container[allowed.checked_key(self.evaluate(index_node))] = value
            return
        if not isinstance(container, list):
            raise Raised("TypeError", "object does not support item assignment")
        try:
            if isinstance(index_node, ast.Slice):
                items = self.iterate(value)
                self.budget.room(len(container) + len(items))
                container[self.slice_of(index_node)] = items
            else:
                container[self._index(index_node)] = value
        except (IndexError, ValueError) as error:
            raise Raised("IndexError", str(error)) from None

    def _index(self, node: ast.expr) -> int:
        index = self.evaluate(node)
        if not isinstance(index, int):
            raise Raised("TypeError", "list indices must be integers")
        return int(index)

    def make_lambda(self, node: ast.Lambda) -> object:
        return self._function("<lambda>", node.args, [ast.copy_location(ast.Return(value=node.body), node)], node)

    def _function(self, name: str, arguments: ast.arguments, body: list[ast.stmt], node: ast.AST) -> ScriptFunction:
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
            raise self.unsupported(node, "a function with '*' or '**'")
        around = (self.frames[-1].names, *self.frames[-1].around) if self.frames else ()
        return ScriptFunction(name, arguments, body, [self.evaluate(default) for default in arguments.defaults], around)

    def call_script_function(self, function: object, arguments: list[object], named: dict[str, object]) -> object:
        if not isinstance(function, ScriptFunction):
            raise Raised("TypeError", "object is not callable")
        if len(self.frames) > self.budget.limits.calls:
            raise self.budget.over(f"functions call each other more than {self.budget.limits.calls} deep")
        frame = {**function.defaults, **dict(zip(function.names, arguments, strict=False)), **named}
        if len(arguments) > len(function.names) or set(frame) != set(function.names):
            raise Raised("TypeError", f"{function.name}() takes {len(function.names)} arguments")
        self.frames.append(Frame(frame, function.around, self.depth))
        self.depth = 0  # of each call on its own
        try:
            self.run(function.body)
        except Return as result:
            return result.value
        finally:
            self.depth = self.frames.pop().depth
        return None

    # -- statements

    def run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.budget.line = statement.lineno
            self.budget.step()
            visit = getattr(self, f"do_{type(statement).__name__}", None)
            if visit is None:
                raise self.unsupported(statement, _COMPOUND.get(type(statement).__name__, type(statement).__name__))
            self.depth += 1
            if self.depth > self.budget.limits.depth:
                raise self.budget.over("statements are nested too deeply")
            try:
                visit(statement)
            finally:
                self.depth -= 1

    def do_Pass(self, node: ast.Pass) -> None:
        """Nothing."""

    def do_Global(self, node: ast.Global) -> None:
        (self.frames[-1].declared if self.frames else self.declared).update(node.names)

    def do_Expr(self, node: ast.Expr) -> None:
        self.evaluate(node.value)

    def do_Assign(self, node: ast.Assign) -> None:
        value = self.evaluate(node.value)
        for target in node.targets:
            self.assign(target, value)

    def do_AugAssign(self, node: ast.AugAssign) -> None:
        read = ast.copy_location(_read_of(node.target), node.target)
        old, more = self.evaluate(read), self.evaluate(node.value)
        if isinstance(old, list) and isinstance(node.op, ast.Add):
            items = self.iterate(more)
            self.budget.room(len(old) + len(items))
            old.extend(items)
            self.assign(node.target, old)
        else:
            self.assign(node.target, self.binary(node.op, old, more))

    def do_If(self, node: ast.If) -> None:
        while True:  # a chain of elif is walked, not nested
            if self.evaluate(node.test):
                self.run(node.body)
                return
            if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                node = node.orelse[0]
                continue
            self.run(node.orelse)
            return

    def do_For(self, node: ast.For) -> None:
        for item in self.iterate(self.evaluate(node.iter)):
            self.assign(node.target, item)
            try:
                self.run(node.body)
            except Continue:
                continue
            except Break:
                return
        self.run(node.orelse)

    def do_While(self, node: ast.While) -> None:
        while self.evaluate(node.test):
            try:
                self.run(node.body)
            except Continue:
                continue
            except Break:
                return
        self.run(node.orelse)

    def do_Break(self, node: ast.Break) -> None:
        raise Break

    def do_Continue(self, node: ast.Continue) -> None:
        raise Continue

    def do_Return(self, node: ast.Return) -> None:
        raise Return(None if node.value is None else self.evaluate(node.value))

    def do_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.decorator_list:
            raise self.unsupported(node, "a decorator")
        self._bind(node.name, self._function(node.name, node.args, node.body, node), node.lineno)

    def do_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                self._delete_item(target)
                continue
            if not isinstance(target, ast.Name):
                raise self.unsupported(node, "'del' of this")
            scope = self._scope(target.id)
            if target.id not in scope:
                raise Raised("NameError", f"name '{target.id}' is not defined")
            del scope[target.id]

    def _delete_item(self, target: ast.Subscript) -> None:
        container = self.evaluate(target.value)
        try:
            if isinstance(container, dict):
                del container[allowed.checked_key(self.evaluate(target.slice))]
            elif isinstance(container, list):
                where = target.slice
                del container[self.slice_of(where) if isinstance(where, ast.Slice) else self._index(where)]
            else:
                raise Raised("TypeError", "object does not support item deletion")
        except (KeyError, IndexError) as error:
            raise Raised(type(error).__name__, str(error)) from None

    def do_Assert(self, node: ast.Assert) -> None:
        if not self.evaluate(node.test):
            raise Raised("AssertionError", py2_str(self.evaluate(node.msg), self.budget) if node.msg else "")

    def do_Raise(self, node: ast.Raise) -> None:
        if node.exc is None:
            if not self.handled:
                raise Raised("TypeError", "exceptions must be classes or instances, not NoneType")
            raise self.handled[-1]
        value = self.evaluate(node.exc)
        if isinstance(value, ExceptionClass):
            value = Raised(value.name, "", ())
        raise value if isinstance(value, Raised) else Raised("TypeError", "exceptions must be classes or instances")

    def do_Try(self, node: ast.Try) -> None:
        """What the script is refused for ends it at once: no "finally" may put something else in its place."""
        way_out: Exception | None = None
        try:
            self._try(node)
        except (Raised, Return, Break, Continue) as way:
            way_out = way
        self.run(node.finalbody)
        if way_out is not None:
            raise way_out

    def _try(self, node: ast.Try) -> None:
        try:
            self.run(node.body)
        except Raised as error:
            self._handle(error, node.handlers)
        else:
            self.run(node.orelse)

    def _handle(self, error: Raised, handlers: list[ast.ExceptHandler]) -> None:
        for handler in handlers:
            if handler.type is None or self._catches(self.evaluate(handler.type), error.kind):
                if handler.name:
                    self._bind(handler.name, error, handler.lineno)
                self.handled.append(error)
                try:
                    self.run(handler.body)
                finally:
                    self.handled.pop()
                return
        raise error

    def _catches(self, caught: object, kind: str) -> bool:
        if isinstance(caught, tuple):
            return any(self._catches(one, kind) for one in caught)
        if not isinstance(caught, ExceptionClass):
            return False
        return py2names.is_a(kind, caught.name)

    # -- imports

    def do_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            module = self._module(alias.name)
            if alias.asname:
                self._bind(alias.asname, module, node.lineno)
            else:
                top = alias.name.partition(".")[0]
                self._bind(top, self._module(top), node.lineno)

    def do_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self._module(("." * node.level) + (node.module or ""))
        for alias in node.names:
            if alias.name == "*":
                for name, value in module.table.items():
                    self._bind(name, value, node.lineno)
                continue
            value = module.attribute(alias.name)
            if value is None:
                raise self.unsafe(f"{module.name}.{alias.name}", module.advice)
            self._bind(alias.asname or alias.name, value, node.lineno)

    def _module(self, name: str) -> Module:
        module = self.modules.get(name)
        if module is None:
            raise UnsafeConfig(
                f"module '{name}' is not available", path=self.budget.path, line=self.budget.line,
                hint=ADVICE.get(name, "write the settings themselves"),
            )  # fmt: skip
        return module


def _read_of(target: ast.expr) -> ast.expr:
    """The expression that reads what TARGET assigns to."""
    if isinstance(target, ast.Name):
        return ast.Name(id=target.id, ctx=ast.Load())
    if isinstance(target, ast.Subscript):
        return ast.Subscript(value=target.value, slice=target.slice, ctx=ast.Load())
    return target
