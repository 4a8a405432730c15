"""Every Prometheus metric of both tiers, in one place; names follow the Prometheus conventions.

With several API processes `PROMETHEUS_MULTIPROC_DIR` is set before this module is imported, and gauges are
summed over the living processes (`livesum`) unless another mode says what is true.
"""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_LONG_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)

BUILD_INFO = Gauge(
    "tenfold_build_info", "Always 1; the labels say what runs.", ["version", "python", "tier"],
    multiprocess_mode="livemax",
)  # fmt: skip

# HTTP
HTTP_REQUESTS = Counter("tenfold_http_requests_total", "Requests answered.", ["route", "method", "status"])
HTTP_DURATION = Histogram(
    "tenfold_http_request_duration_seconds", "From the request's head to the answer's last byte.",
    ["route", "method"], buckets=_LATENCY_BUCKETS,
)  # fmt: skip
HTTP_IN_FLIGHT = Gauge("tenfold_http_requests_in_flight", "Requests being worked on now.", multiprocess_mode="livesum")
RATE_LIMITED = Counter("tenfold_rate_limited_requests_total", "Requests refused with 429.", ["limit"])
QUOTA_REFUSALS = Counter("tenfold_quota_refusals_total", "What was refused because a quota is used up.", ["quota"])
EVENT_LOOP_LAG = Gauge(
    "tenfold_event_loop_lag_seconds", "How late the event loop woke a sleeper, last measured.", ["tier"],
    multiprocess_mode="livemax",
)  # fmt: skip

# reads
CACHE_READS = Counter("tenfold_cache_reads_total", "Look-ups in the page cache.", ["result"])
CACHE_SUSPECT = Gauge(
    "tenfold_cache_suspect", "1 while the cache is passed by, after an invalidation that failed.",
    multiprocess_mode="livemax",
)  # fmt: skip
DATABASE_POOL = Gauge(
    "tenfold_database_pool_connections", "Connections of this tier's pool.", ["tier", "state"],
    multiprocess_mode="livesum",
)  # fmt: skip

# the write gateway
GATEWAY_BATCH = Histogram(
    "tenfold_gateway_batch_commands", "Commands appended as one entry.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)  # fmt: skip
GATEWAY_WAIT = Histogram(
    "tenfold_gateway_wait_seconds", "From a command's submission to its outcome.", buckets=_LATENCY_BUCKETS
)
GATEWAY_ANSWERS = Counter(
    "tenfold_gateway_answers_total", "Commands by how the gateway answered.", ["answer"]
)  # outcome, accepted, found_late, refused
GATEWAY_BUFFERED = Gauge(
    "tenfold_gateway_buffered_commands",
    "Commands gathered and not yet appended.",
    multiprocess_mode="livesum",
)

# lanes and queues
LANE_ENTRIES = Gauge("tenfold_lane_entries", "Entries waiting in a lane.", ["lane"], multiprocess_mode="livemax")
LANE_OLDEST_AGE = Gauge(
    "tenfold_lane_oldest_entry_age_seconds", "Age of a lane's oldest entry; 0 when it is empty.", ["lane"],
    multiprocess_mode="livemax",
)  # fmt: skip
DEAD_LETTERS = Counter("tenfold_dead_letters_total", "Entries or commands set aside as unreadable or poisonous.")
DEAD_LETTER_ENTRIES = Gauge(
    "tenfold_dead_letter_entries", "Entries in the dead-letter stream.", multiprocess_mode="livemax"
)
QUEUE_DEPTH = Gauge("tenfold_queue_jobs", "Jobs waiting in an arq queue.", ["queue"], multiprocess_mode="livemax")
QUEUE_OLDEST_AGE = Gauge(
    "tenfold_queue_oldest_job_age_seconds", "Age of a queue's oldest due job; 0 when none is due.", ["queue"],
    multiprocess_mode="livemax",
)  # fmt: skip

# the worker
COMMANDS = Counter("tenfold_commands_total", "Commands carried out, by what became of them.", ["kind", "state"])
BATCH_COMMANDS = Histogram(
    "tenfold_batch_commands", "Commands applied in one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)  # fmt: skip
BATCH_DURATION = Histogram(
    "tenfold_batch_duration_seconds", "One batch, from read to published.", buckets=_LATENCY_BUCKETS
)
TOO_EXPENSIVE = Counter(
    "tenfold_too_expensive_commands_total",
    "Commands, or operations of batches, refused for the time they took.",
    ["kind"],
)
LANE_TAKEOVERS = Counter("tenfold_lane_takeovers_total", "Drains that found their lane claimed by another.", ["lane"])
BATCH_FALLBACKS = Counter("tenfold_batch_fallbacks_total", "Batches applied again command by command.", ["reason"])
JOB_DURATION = Histogram(
    "tenfold_job_duration_seconds", "One run of an arq job.", ["kind", "outcome"], buckets=_LATENCY_BUCKETS
)
EXPORT_ROWS = Counter("tenfold_export_rows_total", "Tasks exported.", ["format"])
EXPORT_BYTES = Counter("tenfold_export_bytes_total", "Bytes of finished exports.", ["format"])
EXPORT_DURATION = Histogram(
    "tenfold_export_duration_seconds", "One export, from claimed to recorded.", ["format", "outcome"],
    buckets=_LONG_BUCKETS,
)  # fmt: skip
JOB_RETRIES = Counter("tenfold_job_retries_total", "Runs of arq jobs that will be repeated.", ["kind"])
MAINTENANCE_LAST_SUCCESS = Gauge(
    "tenfold_maintenance_last_success_timestamp_seconds", "When a maintenance job last succeeded.", ["name"],
    multiprocess_mode="livemax",
)  # fmt: skip
MAINTENANCE_DURATION = Histogram(
    "tenfold_maintenance_duration_seconds", "One run of a maintenance job.", ["name", "outcome"],
    buckets=_LONG_BUCKETS,
)  # fmt: skip
MAINTENANCE_ROWS = Counter("tenfold_maintenance_rows_total", "Rows that maintenance removed or made.", ["name"])

PARTITIONS_LEFT = Gauge(
    # With a label, so that whoever does not know it does not tell 0.
    "tenfold_partitions_left_seconds",
    "Time until new rows would find no partition.",
    ["table"],
    multiprocess_mode="livemax",
)

# imports
IMPORT_ROWS = Counter(
    "tenfold_import_rows_total", "Rows of imported files, by what became of them.", ["format", "outcome"]
)
IMPORT_ROWS_WARNED = Counter(
    "tenfold_import_rows_warned_total", "Rows of imports of which something was replaced or left out.", ["format"]
)
IMPORT_BYTES = Counter("tenfold_import_bytes_total", "Bytes of uploads that imports have read.")
IMPORT_CHUNK_DURATION = Histogram(
    "tenfold_import_chunk_duration_seconds", "A chunk of an import: read in a thread, or written by PostgreSQL.",
    ["step"], buckets=_LATENCY_BUCKETS,
)  # fmt: skip
IMPORTS_ENDED = Counter("tenfold_imports_ended_total", "Imports that have ended.", ["format", "outcome"])
IMPORTS = Gauge("tenfold_import_jobs", "Imports that have not ended.", ["state"], multiprocess_mode="livemax")
IMPORTS_OLDEST_AGE = Gauge(
    "tenfold_imports_oldest_waiting_age_seconds", "How long the first import that is queued has waited; 0: none is.",
    multiprocess_mode="livemax",
)  # fmt: skip

# deliveries
DELIVERIES = Counter("tenfold_deliveries_total", "Attempts to deliver, by what became of the delivery.", ["state"])
DELIVERY_DURATION = Histogram(
    "tenfold_delivery_duration_seconds", "One attempt to deliver.", ["kind"], buckets=_LATENCY_BUCKETS
)
DELIVERY_LATENESS = Histogram(
    "tenfold_delivery_lateness_seconds",
    "From an event, or from when its reminder or a retry was due, until it was delivered; quiet hours do not count.",
    buckets=_LONG_BUCKETS,
)  # fmt: skip
FAN_OUT_EVENTS = Gauge(
    "tenfold_fan_out_events", "Events whose deliveries are still to be made, or taken back, because they are many.",
    multiprocess_mode="livemax",
)  # fmt: skip
FAN_OUT_DELIVERIES = Counter(
    "tenfold_fan_out_deliveries_total", "Deliveries made later, or taken back, of events that are many.", ["outcome"]
)  # made, taken_back

# reminders
REMINDERS = Counter("tenfold_reminders_total", "Reminders that came due, by what became of them.", ["outcome"])
REMINDER_DIGESTS = Counter("tenfold_reminder_digests_total", "Digests sent instead of many late reminders.")
REMINDER_LATENESS = Histogram(
    "tenfold_reminder_lateness_seconds", "From when a reminder was due until it was sent.", buckets=_LONG_BUCKETS
)
