"""Django's settings of the standalone product, all drawn from `config`."""

from pathlib import Path
from typing import Any

import dj_database_url
import django
from csp.constants import NONCE, NONE, SELF

from postroom_server import config as configuration
from postroom_server import keys as secret_keys

CONFIG = configuration.load()
KEYS = secret_keys.load_or_make(CONFIG)

POSTROOM_DATA: Path = CONFIG.data
POSTROOM_BASE_URL = CONFIG.base_url
POSTROOM_MAIL_DOMAIN = CONFIG["POSTROOM_MAIL_DOMAIN"]
POSTROOM_RELAY_URL = CONFIG["RELAY_URL"]
POSTROOM_RELAY_FROM_FILTER = CONFIG["RELAY_FROM_FILTER"]
POSTROOM_DEFAULT_PLAN = CONFIG["POSTROOM_DEFAULT_PLAN"]
POSTROOM_INSTANCE_ID = CONFIG["POSTROOM_INSTANCE_ID"]
POSTROOM_LISTEN_URL = CONFIG["POSTROOM_LISTEN_URL"]
POSTROOM_CAPTURE = CONFIG["POSTROOM_CAPTURE"]
POSTROOM_PRIVATE_NETWORKS = CONFIG["POSTROOM_PRIVATE_NETWORKS"]
POSTROOM_OPEN_INTERNET = CONFIG["POSTROOM_OPEN_INTERNET"] == "yes"
POSTROOM_METRICS_TOKEN = CONFIG["POSTROOM_METRICS_TOKEN"]
POSTROOM_METRICS_BY_WORKSPACE = CONFIG["POSTROOM_METRICS_BY_WORKSPACE"] == "yes"

_of_keys = secret_keys.settings_of(KEYS)
SECRET_KEY = _of_keys["SECRET_KEY"]
SECRET_KEY_FALLBACKS = _of_keys["SECRET_KEY_FALLBACKS"]
POSTROOM_TOKEN_KEYS = _of_keys["POSTROOM_TOKEN_KEYS"]
POSTROOM_SEALING_KEYS = _of_keys["POSTROOM_SEALING_KEYS"]
POSTROOM_LOG_KEYS = _of_keys["POSTROOM_LOG_KEYS"]
POSTROOM_KEY_CHECKS = _of_keys["POSTROOM_KEY_CHECKS"]
POSTROOM_READ_KEYS = secret_keys.Rereader(KEYS)

DEBUG = False
ALLOWED_HOSTS = ["*"]  # the Host header is never used to build a link; POSTROOM_BASE_URL is
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "postroom_server.urls"
ASGI_APPLICATION = "postroom_server.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SITE_NAME = "Postroom"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "postroom",  # before allauth, whose pages it replaces
    "allauth",
    "allauth.account",
    "django_htmx",
    "csp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "postroom.web.membership.MembershipMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "postroom.web.context.every_page",
            ],
        },
    }
]


# A database server that is gone without a word is noticed within half a minute, not within hours.
_NOTICED_SOON = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# The other way round, by the server: a process that freezes in the middle of a transaction, or whose machine
# is gone, loses its locks after half a minute. Without this all others would wait for it without an end.
_FREED_SOON = (
    "-c idle_in_transaction_session_timeout=30s -c tcp_user_timeout=30s"
    " -c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)


def _session_options(of_url: str) -> dict[str, str]:
    """What sessions start with; DATABASE_URL has the last word. A pooler takes none, and would refuse us."""
    ours = "" if CONFIG["POSTROOM_LISTEN_URL"] else _FREED_SOON
    options = f"{ours} {of_url}".strip()
    return {"options": options} if options else {}


def _database() -> dict[str, Any]:
    url = CONFIG["DATABASE_URL"]
    if CONFIG.has_postgres:
        found: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True)}
        theirs = found.get("OPTIONS", {})
        options = _session_options(theirs.get("options", ""))
        return {**found, "OPTIONS": {**_NOTICED_SOON, **theirs, **options}}
    name = dj_database_url.parse(url)["NAME"] if url else str(POSTROOM_DATA / "postroom.sqlite3")
    return {
        "ENGINE": "postroom.sqlite",
        "NAME": name,
        "CONN_MAX_AGE": 60,
        "TEST": {"NAME": str(POSTROOM_DATA / "test.sqlite3")},  # a file: threads share no database in memory
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            # FULL because a 250 promises stable storage: in WAL mode NORMAL may lose
            # the last commits with the power.
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA cache_size=-32768;"
            "PRAGMA temp_store=MEMORY",
        },
    }


DATABASES = {"default": _database()}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "postroom.web.accounts.InvitedOnly"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "postroom.workspaces.logins.LinkTokens"

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(POSTROOM_DATA / "storage")},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ro", "Română"), ("es", "Español")]
USE_I18N = True

_is_https = POSTROOM_BASE_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _is_https
SESSION_COOKIE_NAME = "postroom_session"
CSRF_COOKIE_NAME = "postroom_csrf"
CSRF_TRUSTED_ORIGINS = [POSTROOM_BASE_URL]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _is_https else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 30 * 1024 * 1024

if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "postroom.django.EmailBackend"}}
else:
    EMAIL_BACKEND = "postroom.django.EmailBackend"
DEFAULT_FROM_EMAIL = f"Postroom <notifications@{POSTROOM_MAIL_DOMAIN}>"
LOGGING_CONFIG = None
