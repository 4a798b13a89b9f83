"""Triggers that write down every change of a watched row, so that `QuerySet.update()`, a command and raw SQL reach the relay too.

Each change takes its number from one locked counter row: numbers rise in the order of commits, and a reader that has seen 7
has missed nothing below it. On PostgreSQL the trigger is deferred: the counter is the last lock a transaction takes (docs/ledger.md §6).
A number that a restored or emptied counter gives again takes the old row's place: no write of an operator may fail on the feed.
Installed after each `migrate` and not by a migration, as Django rebuilds tables on SQLite and drops their triggers with them.
"""

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

CHANNEL = "gateway_change"  # of LISTEN and NOTIFY

# table -> (name in the feed, column that holds the key)
WATCHED = {
    "accounts_group": ("group", "id"),
    "accounts_user": ("user", "id"),
    "gateway_token": ("token", "id"),
    "channels_app_channel": ("channel", "id"),
    "channels_app_channel_groups": ("channel", "channel_id"),
    "channels_app_channelkey": ("channel", "channel_id"),
    "channels_app_channelstate": ("channel", "channel_id"),
    "billing_modelprice": ("price", "id"),
    "billing_pricerule": ("price_rule", "id"),
    "billing_budget": ("budget", "id"),
}

POSTGRES_FUNCTION = f"""
CREATE OR REPLACE FUNCTION gateway_watch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
    number bigint;
BEGIN
    INSERT INTO gateway_changecounter (id, version) VALUES (1, 1)
        ON CONFLICT (id) DO UPDATE SET version = gateway_changecounter.version + 1 RETURNING version INTO number;
    INSERT INTO gateway_change ("table", key, version) VALUES (TG_ARGV[0], (changed ->> TG_ARGV[1])::bigint, number)
        ON CONFLICT (version) DO UPDATE SET "table" = excluded."table", key = excluded.key, at = excluded.at;
    PERFORM pg_notify('{CHANNEL}', '');  -- one and the same for all rows of a transaction: PostgreSQL then sends it once
    RETURN NULL;
END $$
"""  # noqa: S608  built of the constant above


def _sqlite(table: str, name: str, column: str) -> list[str]:
    statements = []
    for operation, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
        trigger = f"watch_{table}_{operation.lower()}"
        statements += [
            f"DROP TRIGGER IF EXISTS {trigger}",
            f"CREATE TRIGGER {trigger} AFTER {operation} ON {table} BEGIN "  # noqa: S608  names from WATCHED
            "UPDATE gateway_changecounter SET version = version + 1 WHERE id = 1; "
            'INSERT OR REPLACE INTO gateway_change ("table", key, version) '
            f"SELECT '{name}', {row}.{column}, version FROM gateway_changecounter WHERE id = 1; END",
        ]
    return statements


def _postgres(table: str, name: str, column: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS watch_{table} ON {table}",
        f"CREATE CONSTRAINT TRIGGER watch_{table} AFTER INSERT OR UPDATE OR DELETE ON {table} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION gateway_watch('{name}', '{column}')",
    ]


def install(connection: BaseDatabaseWrapper) -> None:
    """Creates the triggers anew and the counter's row where it is missing. Harmless when repeated."""
    postgres = connection.vendor == "postgresql"
    build = _postgres if postgres else _sqlite
    with connection.cursor() as cursor:
        cursor.execute(  # never below a change that is already there
            "INSERT INTO gateway_changecounter (id, version) "
            "SELECT 1, COALESCE(MAX(version), 0) FROM gateway_change WHERE true ON CONFLICT (id) DO NOTHING"
        )
        if postgres:
            cursor.execute(POSTGRES_FUNCTION)
        for table, (name, column) in WATCHED.items():
            for statement in build(table, name, column):
                cursor.execute(statement)


def after_migrate(sender: object, using: str = "default", **_: Any) -> None:
    """Handler of `post_migrate`; the gateway's tables are the last to come, so all watched ones exist."""
    install(connections[using])
