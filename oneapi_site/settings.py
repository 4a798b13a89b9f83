"""Settings, read from the environment top to bottom. DATABASE_URL and REDIS_URL decide between the embedded mode and production."""

from pathlib import Path
from typing import Any

from django.core.management.utils import get_random_secret_key

from oneapi_site import console, env, logging

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where state lies, and where we listen -------------------------------------------------------------------------
DATA_DIR = env.folder("DATA_DIR", BASE_DIR / "data")
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 3000, 1, 65535)
ROLE = env.choice("ROLE", "all", ("all", "relay", "console"))
WEB_CONCURRENCY = env.integer("WEB_CONCURRENCY", 1, 1, 256)
SHUTDOWN_TIMEOUT = env.number("SHUTDOWN_TIMEOUT", 30, 1, 3600)  # seconds that streams in flight have at a stop

# --- Secrets: the first start writes them to DATA_DIR, see accounts/encryption.py -----------------------------------
SECRET_KEY_FILE = DATA_DIR / "secret_key"
FIELD_KEYS_FILE = DATA_DIR / "field_encryption_keys"
SECRET_KEY = env.secret("SECRET_KEY", SECRET_KEY_FILE)
SECRET_KEY_MISSING = not SECRET_KEY  # the server refuses to start so; commands before the first start get a key of their own
SECRET_KEY = SECRET_KEY or get_random_secret_key()
FIELD_ENCRYPTION_KEYS = [key for key in env.secret("FIELD_ENCRYPTION_KEYS", FIELD_KEYS_FILE).replace("\n", ",").split(",") if key.strip()]
REVEAL_KEYS = env.boolean("REVEAL_KEYS", True)  # owners may see their sk- keys again; off: a key is shown once

DEBUG = env.boolean("DEBUG", False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")  # of the console; the relay answers on any
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")  # whose X-Forwarded-* headers count
ALLOWED_PRIVATE_NETWORKS = env.networks("ALLOWED_PRIVATE_NETWORKS")
FORCE_SCRIPT_NAME = env.prefix("FORCE_SCRIPT_NAME") or None

# --- Database: SQLite in DATA_DIR, or PostgreSQL --------------------------------------------------------------------
DATABASE_URL = env.address(
    "DATABASE_URL", ("sqlite", "postgres", "postgresql"), f"sqlite:///{DATA_DIR / 'oneapi.sqlite3'}"
)  # SQLite in DATA_DIR, or postgres://user:password@host:5432/name
DATABASES: dict[str, dict[str, Any]] = {"default": env.database(DATABASE_URL)}
EMBEDDED = DATABASES["default"]["ENGINE"].endswith("sqlite3")
if EMBEDDED:
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=20000",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 0  # under ASGI each request has a thread of its own, and would leave its connection behind
    DATABASES["default"]["OPTIONS"] = {
        **DATABASES["default"].get("OPTIONS", {}),
        "connect_timeout": 5,
        "options": "-c statement_timeout=30000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: broker, cache and channel layer in production -----------------------------------------------------------
REDIS_URL = env.address("REDIS_URL", ("redis", "rediss", "unix"))  # empty: all of this stays inside the one process
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}
CELERY_BROKER_URL = REDIS_URL or "filesystem://localhost/"
BROKER_DIR = DATA_DIR / "broker"  # of the file-system broker
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {} if REDIS_URL else {"data_folder_in": str(BROKER_DIR), "data_folder_out": str(BROKER_DIR), "control_folder": str(BROKER_DIR / "control")}
)
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

# --- The relay -------------------------------------------------------------------------------------------------------
MAX_BODY_BYTES = env.integer("MAX_BODY_BYTES", 100 * 2**20, 2**10, 2**33)  # of a request, also once decompressed
MAX_ANSWER_BYTES = env.integer("MAX_ANSWER_BYTES", 256 * 2**20, 2**10, 2**33)  # of a plain answer held until its charge is committed
MAX_IN_FLIGHT = env.integer("MAX_IN_FLIGHT", 10_000, 1)  # requests a process admits at once
MAX_BYTES_IN_FLIGHT = env.integer("MAX_BYTES_IN_FLIGHT", 2 * 2**30, 2**20)  # of request bodies
MAX_HOPS = env.integer("MAX_HOPS", 3, 1, 20)  # gateways of our kind that a request may pass
MAX_ATTEMPTS = env.integer("MAX_ATTEMPTS", 8, 1, 100)  # channels tried for one request
RETRY_WITHIN = env.number("RETRY_WITHIN", 60, 0, 3600)  # seconds after the first attempt in which another may start
KEEPALIVE_AFTER = env.number("KEEPALIVE_AFTER", 15, 0.1, 3600)  # seconds without content before headers and keep-alives are sent
TIMEOUT_CONNECT = env.number("TIMEOUT_CONNECT", 10, 0.1, 300)
TIMEOUT_FIRST_TOKEN = env.number("TIMEOUT_FIRST_TOKEN", 120, 0.1, 3600)
TIMEOUT_GAP = env.number("TIMEOUT_GAP", 120, 0.1, 3600)
TIMEOUT_TOTAL = env.number("TIMEOUT_TOTAL", 1800, 1, 86400)
CLIENT_GONE = env.choice("CLIENT_GONE", "cancel", ("cancel", "drain"))  # what becomes of an upstream stream whose client left

# --- Money -------------------------------------------------------------------------------------------------------------
DEFAULT_MAX_OUTPUT = env.integer("DEFAULT_MAX_OUTPUT", 16_384, 1, 10_000_000)  # tokens reserved where a request names no bound
DEFAULT_CONTEXT = env.integer("DEFAULT_CONTEXT", 1_000_000, 1, 100_000_000)  # of a model whose limit is not known
ALLOW_UNPRICED = env.boolean("ALLOW_UNPRICED", False)  # serve models without a price, at these:
DEFAULT_PRICE_INPUT = env.dollars("DEFAULT_PRICE_INPUT", "10")  # USD per million tokens
DEFAULT_PRICE_OUTPUT = env.dollars("DEFAULT_PRICE_OUTPUT", "30")  # likewise
DISK_RESERVE_BYTES = env.integer("DISK_RESERVE_BYTES", 64 * 2**20, 0)  # free space below which no request is admitted
DATABASE_SILENCE = env.number("DATABASE_SILENCE", 5, 1, 60)  # seconds without an answered beat before admission stops
ALERT_BELOW_ZERO = env.dollars("ALERT_BELOW_ZERO", "1")  # USD that balances below zero may lack together before an alarm
LEASE_IDLE = env.number("LEASE_IDLE", 2, 0.1, 60)  # seconds after which an unused slice of a balance goes back

# --- People ------------------------------------------------------------------------------------------------------------
EMAIL_URL = env.text("EMAIL_URL") or "consolemail://"
vars().update(env.email(EMAIL_URL))
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "oneapi@localhost")
ALERT_EMAILS = env.words("ALERT_EMAILS")
ALERT_WEBHOOK = env.address("ALERT_WEBHOOK", ("https", "http"))
ADMIN_USERNAME = env.text("ADMIN_USERNAME", "admin")
ADMIN_PASSWORD = env.text("ADMIN_PASSWORD")
LOG_LEVEL = env.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error"))
TIME_ZONE = env.timezone("TZ", "UTC")
USE_TZ = True
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "locale"]
AUTH_USER_MODEL = "accounts.User"

INSTALLED_APPS = [
    "daphne",
    "oneapi_site",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.import_export",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "import_export",
    "django_celery_beat",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "accounts",
    "billing",
    "channels_app",
    "gateway",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "oneapi_site.security.SecurityHeadersMiddleware",
]
ROOT_URLCONF = "oneapi_site.urls"
ASGI_APPLICATION = "oneapi_site.asgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
            ]
        },
    }
]
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "oneapi_site.assets.PrefixedManifestStorage"},
}

# --- Sign-in -----------------------------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "portal:home"
LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_RATE_LIMITS = {"login": "30/m/ip", "login_failed": "10/m/ip,5/5m/key"}
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
}
UNFOLD = console.UNFOLD

# --- Logs --------------------------------------------------------------------------------------------------------------
LOGGING_CONFIG = None
logging.configure(LOG_LEVEL)
