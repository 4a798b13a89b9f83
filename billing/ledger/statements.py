"""All SQL of the ledger, in both dialects (docs/ledger.md §4: what was missing is decided by RETURNING, never by a subquery of the old snapshot).

A test holds the columns against the models. Locks are taken in the order Process, Budget, Lease, Balance by key, Counter, Hold, ClosedMonth,
Checkpoint.
"""

USAGE_COLUMNS = (
    "id", "at", "type", "ended", "boot_id", "balances", "user_id", "token_id", "channel_id", "key_id", "group", "endpoint", "model",
    "model_served", "stream", "counted", "input_tokens", "output_tokens", "amount", "refunded", "upstream_cost", "status", "duration_ms",
    "first_token_ms", "upstream_request_id", "client_ip", "detail",
)  # fmt: skip
_POSTGRES_TYPES = (
    "uuid", "timestamptz", "text", "text", "text", "jsonb", "bigint", "bigint", "bigint", "bigint", "text", "text", "text",
    "text", "boolean", "boolean", "bigint", "bigint", "bigint", "bigint", "bigint", "smallint", "bigint",
    "bigint", "text", "text", "jsonb",
)  # fmt: skip
RECALL_CHANNEL = "oneapi_recall"  # of NOTIFY; the payload is a balance's id
BOOKED = ("done", "partial", "abandoned")  # endings that raise counters

_COLUMNS = ", ".join(f'"{name}"' for name in USAGE_COLUMNS)
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _POSTGRES_TYPES)

# One statement for a batch. Parameters: an array a column of USAGE_COLUMNS, then the process slot.
_POSTGRES_SETTLE = f"""
WITH ins AS (
    INSERT INTO billing_usagerecord ({_COLUMNS})
    SELECT {_COLUMNS} FROM unnest({_ARRAYS}) AS t ({_COLUMNS}) ORDER BY "at", "id"
    ON CONFLICT ("at", "id") DO NOTHING
    RETURNING "id", "type", "ended", "boot_id", "balances", "amount", "user_id", "token_id", "channel_id"
), due AS (
    SELECT ins.boot_id, named.value::bigint AS balance_id, sum(ins.amount)::bigint AS amount
    FROM ins, jsonb_array_elements_text(ins.balances) AS named WHERE ins.amount <> 0 GROUP BY 1, 2
), lk AS MATERIALIZED (
    SELECT lease.id, due.amount FROM billing_lease lease JOIN due USING (boot_id, balance_id)
    ORDER BY lease.boot_id, lease.balance_id FOR NO KEY UPDATE OF lease
), upd AS (
    UPDATE billing_lease lease SET remaining = lease.remaining - lk.amount FROM lk WHERE lease.id = lk.id
    RETURNING lease.boot_id, lease.balance_id
), rest AS (
    SELECT due.balance_id, sum(due.amount)::bigint AS amount FROM due
    WHERE NOT EXISTS (SELECT 1 FROM upd WHERE upd.boot_id = due.boot_id AND upd.balance_id = due.balance_id) GROUP BY 1
), locked AS MATERIALIZED (
    SELECT balance.id, rest.amount FROM billing_balance balance JOIN rest ON rest.balance_id = balance.id
    ORDER BY balance.kind, balance.subject, balance.period FOR NO KEY UPDATE OF balance
), late AS (
    UPDATE billing_balance balance SET available = balance.available - locked.amount FROM locked WHERE balance.id = locked.id
    RETURNING balance.id
), used AS (
    SELECT who.kind, who.subject, sum(ins.amount)::bigint AS amount, count(*) AS requests
    FROM ins CROSS JOIN LATERAL (VALUES ('user', ins.user_id), ('token', ins.token_id), ('channel', ins.channel_id)) AS who (kind, subject)
    WHERE ins.type = 'request' AND ins.ended IN {BOOKED} GROUP BY 1, 2
), counted AS (
    INSERT INTO billing_counter (kind, subject, slot, amount, requests)
    SELECT kind, subject, %s, amount, requests FROM used ORDER BY kind, subject
    ON CONFLICT (kind, subject, slot) DO UPDATE
    SET amount = billing_counter.amount + excluded.amount, requests = billing_counter.requests + excluded.requests
    RETURNING 1
)
"""  # noqa: S608  built of the constants above
_SETTLED = "SELECT (SELECT count(*) FROM ins), (SELECT count(*) FROM upd), (SELECT count(*) FROM late), (SELECT count(*) FROM counted)"
POSTGRES_SETTLE = _POSTGRES_SETTLE + _SETTLED  # gives back how many were new
POSTGRES_SETTLE_IDS = _POSTGRES_SETTLE + "SELECT id FROM ins"  # noqa: S608  which were
# Stands after the insert, with a snapshot of its own, and fails (22012) where that month or a later one is closed. Parameter: the month.
POSTGRES_STILL_OPEN = "SELECT 1 / (NOT EXISTS (SELECT 1 FROM billing_closedmonth WHERE month >= %s::date))::int"

# Parameters: arrays of kind, subject, period, need, want, slice; the number of living processes; the boot id, the session.
POSTGRES_ACQUIRE = """
WITH ask AS (
    SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
        AS t (kind, subject, period, need, want, slice)
), lk AS MATERIALIZED (
    SELECT balance.id, balance.available, balance.recall_at > clock_timestamp() - interval '1 second' AS recalled, ask.*
    FROM billing_balance balance JOIN ask USING (kind, subject, period)
    ORDER BY balance.kind, balance.subject, balance.period FOR NO KEY UPDATE OF balance
), take AS (
    SELECT *, CASE WHEN available < need OR available <= 0 THEN 0 WHEN recalled THEN need
        ELSE GREATEST(need, LEAST(want, available), LEAST(slice, available / (4 * %s::bigint))) END AS amount
    FROM lk WHERE EXISTS (SELECT 1 FROM billing_process WHERE boot_id = %s AND session = %s AND NOT fenced)
), upd AS (
    UPDATE billing_balance balance SET available = balance.available - take.amount FROM take
    WHERE balance.id = take.id AND take.amount > 0 RETURNING balance.id
), leased AS (
    INSERT INTO billing_lease (boot_id, balance_id, remaining) SELECT %s, id, amount FROM take WHERE amount > 0 ORDER BY id
    ON CONFLICT (boot_id, balance_id) DO UPDATE SET remaining = billing_lease.remaining + excluded.remaining RETURNING 1
)
SELECT take.kind, take.subject, take.period, take.id, take.amount, take.available - take.amount FROM take
"""

SQLITE_INSERT = f"INSERT INTO billing_usagerecord ({_COLUMNS}) VALUES {{rows}} ON CONFLICT (id) DO NOTHING RETURNING id"  # noqa: S608
SQLITE_ROW = "(" + ", ".join("?" * len(USAGE_COLUMNS)) + ")"

# The statements below are the same in both dialects but for the mark of a parameter.
LEASE_TAKE = "UPDATE billing_lease SET remaining = remaining - ? WHERE boot_id = ? AND balance_id = ? RETURNING id"
LEASE_PUT = (
    "INSERT INTO billing_lease (boot_id, balance_id, remaining) VALUES (?, ?, ?) "
    "ON CONFLICT (boot_id, balance_id) DO UPDATE SET remaining = billing_lease.remaining + excluded.remaining"
)
LEASE_DROP = "DELETE FROM billing_lease WHERE boot_id = ? AND balance_id = ? RETURNING remaining"
LEASES_DROP = "DELETE FROM billing_lease WHERE boot_id = ? RETURNING balance_id, remaining"
LEASES = "SELECT balance_id, remaining FROM billing_lease WHERE boot_id = ?"
BALANCE_FIND = "SELECT id, available, recall_at > {second_ago} FROM billing_balance WHERE kind = ? AND subject = ? AND period = ?"
BALANCE_EXISTS = "SELECT 1 FROM billing_balance WHERE kind = ? AND subject = ? AND period = ?"
# Of a budget's row, which whoever edits it locks first. Parameters: period, kind, subject.
BUDGET_OPEN = (
    'INSERT INTO billing_balance (kind, subject, period, available, "limit", created_at) '
    'SELECT kind, subject, ?, "limit", "limit", CURRENT_TIMESTAMP FROM billing_budget WHERE kind = ? AND subject = ? {for_share} '
    "ON CONFLICT (kind, subject, period) DO NOTHING"
)
BALANCE_ADD = "UPDATE billing_balance SET available = available + ? WHERE id = ?"
BALANCE_LOOK = "SELECT available, last_cents FROM billing_balance WHERE id = ?"
BALANCE_LAST_CENTS = "UPDATE billing_balance SET available = 0, last_cents = ? WHERE id = ?"
LAST_CENTS_CLEAR = "UPDATE billing_balance SET last_cents = NULL WHERE id = ? AND last_cents = ?"
LAST_CENTS_OF_BOOT = "UPDATE billing_balance SET last_cents = NULL WHERE id = ? AND last_cents LIKE ?"
COUNTERS_ADD = (
    "INSERT INTO billing_counter (kind, subject, slot, amount, requests) VALUES {rows} ON CONFLICT (kind, subject, slot) "
    "DO UPDATE SET amount = billing_counter.amount + excluded.amount, requests = billing_counter.requests + excluded.requests"
)
LEASED_ELSEWHERE = "SELECT COALESCE(sum(remaining), 0) FROM billing_lease WHERE balance_id = ? AND boot_id <> ? AND remaining > 0"
RECALL = "UPDATE billing_balance SET recall_at = {now} WHERE id = ? AND (recall_at IS NULL OR recall_at < {second_ago}) RETURNING id"
RECALL_SEEN = "UPDATE billing_lease SET recall_seen = {now} WHERE boot_id = ? AND balance_id = ?"
RECALLED = (
    "SELECT balance.id FROM billing_lease lease JOIN billing_balance balance ON balance.id = lease.balance_id "
    "WHERE lease.boot_id = ? AND balance.recall_at IS NOT NULL AND (lease.recall_seen IS NULL OR lease.recall_seen < balance.recall_at)"
)
RECALL_UNANSWERED = (
    "SELECT lease.id FROM billing_lease lease JOIN billing_balance balance ON balance.id = lease.balance_id "
    "JOIN billing_process process ON process.boot_id = lease.boot_id "
    "WHERE lease.balance_id = ? AND lease.boot_id <> ? AND lease.remaining > 0 AND NOT process.fenced "
    "AND (balance.recall_at IS NULL OR lease.recall_seen IS NULL OR lease.recall_seen < balance.recall_at) LIMIT 1"
)
# The closed months from that one on: the first of them covers it, and what is older.
MONTHS_CLOSED = "SELECT month, pruned_at IS NOT NULL FROM billing_closedmonth WHERE month >= ? ORDER BY month"
MONTH_CHANGED = "UPDATE billing_closedmonth SET changes = changes + ? WHERE month = ?"
CHECKPOINT_ADD = (
    "INSERT INTO billing_checkpoint (kind, subject, month, charges, requests) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, subject, month) "
    "DO UPDATE SET charges = billing_checkpoint.charges + excluded.charges, requests = billing_checkpoint.requests + excluded.requests"
)
HOLD_DROP = "DELETE FROM billing_hold WHERE hold_id = ? RETURNING balance_id, amount"
HOLD_ADD = "INSERT INTO billing_hold (hold_id, balance_id, amount, job, deadline) VALUES (?, ?, ?, ?, ?)"
# Parameters: an array of balance ids, then arrays of kind, subject, period.
POSTGRES_LOCK_BALANCES = """
SELECT id FROM billing_balance WHERE id IN (
    SELECT unnest(%s::bigint[]) UNION
    SELECT balance.id FROM billing_balance balance JOIN unnest(%s::text[], %s::bigint[], %s::text[]) AS t (kind, subject, period)
        USING (kind, subject, period)
) ORDER BY kind, subject, period FOR NO KEY UPDATE
"""
PROCESS_ADD = (
    "INSERT INTO billing_process (boot_id, slot, host, beat, session, fenced, journal_pending, journal_sum, started_at) "
    "VALUES (?, ?, ?, 0, 1, ?, 0, 0, CURRENT_TIMESTAMP)"
)
PROCESS_BEAT = "UPDATE billing_process SET beat = beat + 1 WHERE boot_id = ? RETURNING fenced, session"
PROCESS_REPORT = "UPDATE billing_process SET beat = beat + 1, journal_pending = ?, journal_sum = ? WHERE boot_id = ? RETURNING fenced, session"
PROCESS_SESSION = "UPDATE billing_process SET beat = beat + 1, session = session + 1 WHERE boot_id = ? RETURNING fenced, session"
PROCESS_FENCE = "UPDATE billing_process SET fenced = ? WHERE boot_id = ? AND fenced = ? AND beat = COALESCE(?, beat) RETURNING id"
PROCESSES_LIVING = "SELECT boot_id, slot, host, beat FROM billing_process WHERE fenced = ?"
PROCESS_COUNT = "SELECT count(*) FROM billing_process WHERE fenced = ?"
PROCESSES_PRUNE = (
    "DELETE FROM billing_process WHERE fenced = ? AND started_at < ? "
    "AND NOT EXISTS (SELECT 1 FROM billing_lease WHERE billing_lease.boot_id = billing_process.boot_id)"
)
