"""The product's settings in a folder and with keys of the tests' own; DATABASE_URL decides which database the Django tests use."""

import atexit
import os
import shutil
import tempfile

_OWNER = "TEST_DATA_DIR_OWNER"

if _OWNER not in os.environ:  # the first process of the run; xdist's workers inherit the folder
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="oneapi-tests-")
    os.environ[_OWNER] = str(os.getpid())
    os.environ["SECRET_KEY"] = "a key for tests only, which signs nothing that lasts"
    os.environ["FIELD_ENCRYPTION_KEYS"] = "dGVzdHMgb25seTogdGhpcnR5LXR3byBieXRlcyBrZXk="
    atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)

from oneapi_site.settings import *  # noqa: E402, F403  after the environment is set
from oneapi_site.settings import DATA_DIR, DATABASES, EMBEDDED, STORAGES  # noqa: E402

if EMBEDDED:  # a file, as in production: threads see each other's commits, and WAL is in force
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "tests.sqlite3")}
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
