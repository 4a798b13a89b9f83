"""What our code must not contain, whatever it does: the standing answers to whole families of vulnerabilities."""

import ast
import re

import pytest

from tests.server import ROOT

APPS = ("oneapi_site", "gateway", "channels_app", "billing", "accounts", "outbound", "wire")
FILES = sorted(path for app in APPS for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts)
NAMES = {path: str(path.relative_to(ROOT)) for path in FILES}

DANGEROUS_CALLS = {"exec", "eval", "compile", "__import__"}
DANGEROUS_MODULES = {"pickle", "marshal", "shelve", "subprocess", "dill", "yaml", "code", "pty", "popen2"}
DANGEROUS_ATTRIBUTES = {
    ("os", "system"), ("os", "popen"), ("os", "execv"), ("os", "execve"), ("os", "execvp"), ("os", "spawnv"), ("os", "fork"),
    ("importlib", "import_module"), ("runpy", "run_path"), ("runpy", "run_module"), ("engines", "from_string"), ("Engine", "from_string"),
}  # fmt: skip
# Where one of them is meant: each runs a fixed list of our own, and nothing stored or sent reaches it.
ALLOWED = {
    ("oneapi_site/supervisor.py", "subprocess"),  # starts our own modules
    ("oneapi_site/setup.py", "subprocess"),  # runs our own load_prices
    ("oneapi_site/management/commands/serve.py", "os.execv"),  # becomes the supervisor
    ("channels_app/registry.py", "importlib.import_module"),  # the modules of providers/, from the package itself
}
HTTP_MODULES = {"urllib.request", "http.client", "aiohttp", "httpx", "requests", "urllib3"}


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path):
    """Full names of what a file imports."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dangerous(path):
    """What a file uses of the lists above."""
    for name in imported(path):
        if name.split(".")[0] in DANGEROUS_MODULES:
            yield name.split(".")[0]
        if tuple(name.rsplit(".", 1)) in DANGEROUS_ATTRIBUTES:
            yield name
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DANGEROUS_CALLS:
            yield node.func.id
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in DANGEROUS_ATTRIBUTES:
            yield f"{node.value.id}.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Template":
            yield "Template"  # a template from data


def test_security_4_no_code_from_data_and_no_other_programs():
    found = {(NAMES[path], what) for path in FILES for what in dangerous(path)}

    assert found - ALLOWED == set()
    assert ALLOWED - found == set(), "an exception that nobody needs any more"


def test_security_6_no_default_password_and_no_setting_that_opens_the_console():
    settings = (ROOT / "oneapi_site/settings.py").read_text(encoding="utf-8")

    assert 'ADMIN_PASSWORD = env.text("ADMIN_PASSWORD")' in settings, "the default is empty: a random one is made"
    assert re.search(r'"DEFAULT_PERMISSION_CLASSES": \["rest_framework\.permissions\.IsAdminUser"\]', settings)
    assert not re.search(r"AUTH_DISABLED|DISABLE_AUTH|NO_LOGIN|SKIP_AUTH|AllowAny|csrf_exempt", "".join(p.read_text(encoding="utf-8") for p in FILES))


@pytest.mark.parametrize("path", FILES, ids=NAMES.get)
def test_security_6_no_secret_is_written_into_the_code(path):
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant) or not isinstance(node.value.value, str):
            continue
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if any(re.fullmatch(r"(?i).*(password|secret|api_?key|private_?key)", name) for name in names):
            assert node.value.value == "", f"{NAMES[path]}: {names} has a value in the code"


def test_security_13_only_outbound_speaks_http():
    wrong = {(NAMES[path], name) for path in FILES if not NAMES[path].startswith("outbound/") for name in imported(path) if name in HTTP_MODULES}

    assert wrong == set()


def test_packages_open_nothing_by_themselves():
    """Package files stay empty, so that the data plane imports what it names and nothing beside (models and admin say what they export)."""
    for path in FILES:
        if path.name == "__init__.py" and path.parent.name not in {"models", "admin"}:
            assert path.read_text(encoding="utf-8").strip() == "", NAMES[path]
