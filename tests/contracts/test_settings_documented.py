"""README's table of environment variables is what settings.py reads: every name, and every default."""

import ast
import operator
import re

from tests.server import ROOT

ARITHMETIC = {ast.Mult: operator.mul, ast.Pow: operator.pow, ast.Add: operator.add}
COMPUTED = {"DATA_DIR": "data", "DATABASE_URL": ""}  # defaults that settings.py derives


def value_of(node):
    """A literal, or arithmetic on literals."""
    if isinstance(node, ast.BinOp):
        return ARITHMETIC[type(node.op)](value_of(node.left), value_of(node.right))
    return ast.literal_eval(node)


def read_by_settings():
    """{variable: default as README writes it}"""
    found = {}
    for node in ast.walk(ast.parse((ROOT / "oneapi_site/settings.py").read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "env"):
            continue
        if not (node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
            continue
        name, kind = node.args[0].value, node.func.attr
        default = "" if len(node.args) < 2 or kind in {"secret", "address"} else COMPUTED.get(name) or value_of(node.args[1])
        found[name] = str(int(default)) if isinstance(default, bool) else str(default)
    return {**found, **COMPUTED}


def documented():
    """{variable: default} of README's table."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\| .+ \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a variable is documented twice"
    return dict(rows)


def test_every_setting_is_in_the_table_with_its_default_and_nothing_else_is():
    assert documented() == read_by_settings()


def test_settings_read_the_environment_through_env_only():
    for file in (ROOT / "oneapi_site").rglob("*.py"):
        if file.name in {"env.py", "asgi.py", "celery.py", "web.py", "serve.py"}:  # name the settings module, or pass the environment on
            continue
        assert "os.environ" not in file.read_text(encoding="utf-8"), file
