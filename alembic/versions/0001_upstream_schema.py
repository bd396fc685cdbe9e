"""Create the schema of flyteadmin v1.16.8, unless upstream has created it.

This revision never changes: later changes of app/database/schema.py are later revisions.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateSequence

revision = "0001"
down_revision = None

# The last migration of upstream v1.16.8. A database of upstream without it was created by an older version.
UPSTREAM_LAST = "2025-05-29-add-index-executions-phase"

# Upstream's migration ids. With them upstream's server takes our database for an up-to-date one of its own.
UPSTREAM_MIGRATIONS = """
2018-05-23-tasks 2018-05-23-workflows 2019-01-29-executions-events 2019-01-29-node-executions-events
2019-03-16-task-executions 2019-04-17-node-executions 2019-04-17-node-executions-backfill 2019-05-22-projects
2019-05-23-executions 2019-05-23-lp 2019-09-27-executions 2019-10-09-project-description 2019-10-15-offload-inputs
2019-11-05-named-entity-metadata 2020-01-10-resource 2020-03-17-task-type 2020-04-03-named-entity-state
2020-04-03-named-entity-state-default 2020-04-03-workflow-state 2020-04-14-task-type 2020-04-29-executions
2020-07-27-cachestatus 2020-07-31-node-execution 2020-08-17-labels-addition 2020-09-01-task-exec-idx
2020-09-13-task-short_description 2020-09-13-workflow-short_description 2020-11-03-project-state-addition
2020-11-03-project-state-default 2021-01-22-execution-user 2021-04-19-node-execution_dynamic-workflow
2021-07-22-schedulable_entities 2021-08-05-schedulable_entities_snapshot 2022-01-11-execution-state
2022-01-11-id-to-bigint 2022-03-29-node-execution-internal-data 2022-04-04-execution-created-at-index
2022-04-11-signals 2022-09-13-description-entities 2022-12-09-execution-launch-type 2023-06-19-id-sequence-to-bigint
2023-08-04-admin-tags 2023-08-04-execution-admin-tags 2024-06-06-drop-admin-tags
2024-06-06-drop-execution_admin-tags 2024-06-06-execution-tags 2024-08-08-remove-input-uri-for-start-nodes
2025-05-29-add-index-executions-phase pg-2023-05-02-fix-parentid-type-phase-1
pg-2023-05-02-fix-parentid-type-phase-2 pg-continue-2024-02-launchplan pg-noop-2023-03-31-noop-description-entity-2
pg-noop-2023-03-31-noop-execution pg-noop-2023-03-31-noop-execution-event pg-noop-2023-03-31-noop-launchplan
pg-noop-2023-03-31-noop-namedentitymetadata pg-noop-2023-03-31-noop-node-execution-event
pg-noop-2023-03-31-noop-nodeexecution pg-noop-2023-03-31-noop-project-3 pg-noop-2023-03-31-noop-resource
pg-noop-2023-03-31-noop-schedulable_entities pg-noop-2023-03-31-noop-schedulable_entities-snapshot
pg-noop-2023-03-31-noop-signal pg-noop-2023-03-31-noop-task-2 pg-noop-2023-03-31-noop-taskexecution
pg-noop-2023-03-31-noop-workflow
""".split()  # noqa: SIM905  (one name a line would take a page)

_EXECUTION = ("execution_project text!", "execution_domain text!", "execution_name text!")
_ENTITY = ("project text!", "domain text!", "name text!", "version text!")
_NAMES = ("project", "domain", "name", "version")
_RUN = ("execution_project", "execution_domain", "execution_name")

# table → (columns beside id and the three times, key, {index: columns}). "!" is NOT NULL, "=0" a default.
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "projects": (
        ("identifier text!", "name text", "description varchar(300)", "labels bytea", "state integer=0"),
        ("identifier",),
        {"idx_projects_state": ("state",)},
    ),
    "tasks": (
        (*_ENTITY, "closure bytea!", "digest bytea", "type text", "short_description text"),
        _NAMES,
        {"task_project_domain_idx": _NAMES[:2], "task_project_domain_name_idx": _NAMES[:3]},
    ),
    "workflows": (
        (
            *_ENTITY,
            "typed_interface bytea",
            "remote_closure_identifier text!",
            "digest bytea",
            "short_description text",
        ),
        _NAMES,
        {"workflow_project_domain_idx": _NAMES[:2], "workflow_project_domain_name_idx": _NAMES[:3]},
    ),
    "launch_plans": (
        (
            *_ENTITY,
            "spec bytea!",
            "workflow_id bigint",
            "closure bytea!",
            "state integer=0",
            "digest bytea",
            "schedule_type text",
            "launch_condition_type varchar(32)",
        ),
        _NAMES,
        {"idx_launch_plans_workflow_id": ("workflow_id",), "lp_project_domain_name_idx": _NAMES[:3]},
    ),
    "named_entity_metadata": (
        ("resource_type integer!", *_ENTITY[:3], "description varchar(300)", "state integer=0"),
        ("resource_type", *_NAMES[:3]),
        {"named_entity_metadata_type_project_domain_name_idx": ("resource_type", *_NAMES[:3])},
    ),
    "description_entities": (
        ("resource_type integer!", *_ENTITY, "short_description text", "long_description bytea", "link text"),
        ("resource_type", *_NAMES),
        {"description_entity_project_domain_name_version_idx": ("resource_type", *_NAMES)},
    ),
    "resources": (
        (
            "project text",
            "domain text",
            "workflow text",
            "launch_plan text",
            "resource_type text",
            "priority integer",
            "attributes bytea",
        ),
        ("id",),
        {},
    ),
    "executions": (
        (
            *_EXECUTION,
            "launch_plan_id bigint",
            "workflow_id bigint",
            "task_id bigint",
            "phase text",
            "closure bytea",
            "spec bytea!",
            "started_at timestamptz",
            "execution_created_at timestamptz",
            "execution_updated_at timestamptz",
            "duration bigint",
            "abort_cause text",
            "mode integer",
            "source_execution_id bigint",
            "parent_node_execution_id bigint",
            "cluster text",
            "inputs_uri text",
            "user_inputs_uri text",
            "error_kind text",
            "error_code text",
            "user text",
            "state integer=0",
            "launch_entity text",
        ),
        _RUN,
        {
            "idx_executions_created_at": ("execution_created_at",),
            "idx_executions_error_kind": ("error_kind",),
            "idx_executions_launch_plan_id": ("launch_plan_id",),
            "idx_executions_phase": ("phase",),
            "idx_executions_state": ("state",),
            "idx_executions_task_id": ("task_id",),
            "idx_executions_user": ("user",),
            "idx_executions_workflow_id": ("workflow_id",),
        },
    ),
    "execution_tags": (
        tuple(f"{c} varchar(255)!" for c in (*_RUN, "key", "value")),
        (*_RUN, "key", "value"),
        {"tag_key": ("key",), "tag_value": ("value",)},
    ),
    "execution_events": (
        (*_EXECUTION, "request_id text", "occurred_at timestamptz", "phase text!"),
        (*_RUN, "phase"),
        {},
    ),
    "node_executions": (
        (
            *_EXECUTION,
            "node_id text!",
            "phase text",
            "input_uri text",
            "closure bytea",
            "started_at timestamptz",
            "node_execution_created_at timestamptz",
            "node_execution_updated_at timestamptz",
            "duration bigint",
            "parent_task_execution_id bigint",
            "dynamic_workflow_remote_closure_reference text",
            "internal_data bytea",
            "node_execution_metadata bytea",
            "parent_id bigint",
            "error_kind text",
            "error_code text",
            "cache_status text",
        ),
        (*_RUN, "node_id"),
        {
            "idx_node_executions_error_kind": ("error_kind",),
            "idx_node_executions_node_id": ("node_id",),
            "idx_node_executions_parent_id": ("parent_id",),
            "idx_node_executions_parent_task_execution_id": ("parent_task_execution_id",),
        },
    ),
    "node_execution_events": (
        (*_EXECUTION, "node_id text!", "request_id text", "occurred_at timestamptz", "phase text!"),
        (*_RUN, "node_id", "phase"),
        {"idx_node_execution_events_node_id": ("node_id",)},
    ),
    "task_executions": (
        (
            *_ENTITY,
            *_EXECUTION,
            "node_id text!",
            "retry_attempt bigint!",
            "phase text",
            "phase_version bigint",
            "input_uri text",
            "closure bytea",
            "started_at timestamptz",
            "task_execution_created_at timestamptz",
            "task_execution_updated_at timestamptz",
            "duration bigint",
        ),
        (*_NAMES, *_RUN, "node_id", "retry_attempt"),
        {"idx_task_executions_exec": (*_RUN, "node_id"), "idx_task_executions_node_id": ("node_id",)},
    ),
    "signals": (
        (*_EXECUTION, "signal_id text!", "type bytea!", "value bytea"),
        (*_RUN, "signal_id"),
        {"idx_signals_signal_id": ("signal_id",)},
    ),
    "schedulable_entities": (
        (
            *_ENTITY,
            "cron_expression text",
            "fixed_rate_value bigint",
            "unit integer",
            "kickoff_time_input_arg text",
            "active boolean",
        ),
        _NAMES,
        {},
    ),
    "schedule_entities_snapshots": (("snapshot bytea",), ("id",), {}),
}


def _type(name: str) -> sa.types.TypeEngine:
    if name.startswith("varchar"):
        return sa.String(int(name[8:-1]))
    sqlite = op.get_bind().dialect.name == "sqlite"
    times: sa.types.TypeEngine = sa.Text() if sqlite else sa.TIMESTAMP(timezone=True)
    types: dict[str, sa.types.TypeEngine] = {
        "text": sa.Text(),
        "bytea": sa.LargeBinary(),
        "integer": sa.Integer(),
        "bigint": sa.BigInteger(),
        "boolean": sa.Boolean(),
        "timestamptz": times,
    }
    return types[name]


def _column(spec: str) -> sa.Column:
    name, kind = spec.split(" ")
    kind, _, default = kind.partition("=")
    required = kind.endswith("!")
    return sa.Column(
        name, _type(kind.rstrip("!")), nullable=not required, server_default=sa.text(default) if default else None
    )


def create_table(table: str, specs: tuple[str, ...], key: tuple[str, ...], indexes: dict[str, tuple[str, ...]]) -> None:
    """Create a table with id and times: as upstream does on PostgreSQL; on SQLite id is the INTEGER PRIMARY KEY."""
    columns = [_column(spec) for spec in specs]
    times = [_column(f"{name} timestamptz") for name in ("created_at", "updated_at", "deleted_at")]
    if op.get_bind().dialect.name == "sqlite":
        row_id = sa.Column("id", sa.Integer(), primary_key=True, nullable=False)
        op.create_table(table, row_id, *times, *columns)
        if key != ("id",):
            op.create_index(f"{table}_pkey", table, list(key), unique=True)
    else:
        sequence = f"{table}_id_seq"
        op.execute(CreateSequence(sa.Sequence(sequence, start=1, increment=1)))
        row_id = sa.Column(
            "id", sa.BigInteger(), server_default=sa.text(f"nextval('{sequence}'::regclass)"), nullable=False
        )
        op.create_table(table, row_id, *times, *columns, sa.PrimaryKeyConstraint(*key, name=f"{table}_pkey"))
        op.execute(sa.text(f"ALTER SEQUENCE {sequence} OWNED BY {table}.id"))
        if table != "resources":
            op.create_index(f"idx_{table}_id", table, ["id"])
    if table != "resources":
        op.create_index(f"idx_{table}_deleted_at", table, ["deleted_at"])
    for index, names in indexes.items():
        op.create_index(index, table, list(names))


def upgrade() -> None:
    """Create all tables; do nothing in a database of upstream, which has the same tables and keys."""
    bind = op.get_bind()
    existing = set(sa.inspect(bind).get_table_names())
    if "migrations" in existing:
        if UPSTREAM_LAST not in set(bind.execute(sa.text("SELECT id FROM migrations")).scalars()):
            raise RuntimeError(
                "this database was made by a flyteadmin older than v1.16.8: "
                "run `flyteadmin migrate run` of v1.16.8 on it first"
            )
        return
    foreign = sorted(existing & set(TABLES))
    if foreign:
        raise RuntimeError(
            f"the database has a table {foreign[0]} but no table migrations, so neither this server nor flyteadmin "
            "made it: name an empty database in FLYTEADMIN_DATABASE_URL"
        )
    for table, (columns, key, indexes) in TABLES.items():
        create_table(table, columns, key, indexes)
    op.create_index(
        "resource_idx", "resources", ["project", "domain", "workflow", "launch_plan", "resource_type"], unique=True
    )
    op.create_index(
        "idx_launch_plans_launch_conditions",
        "launch_plans",
        ["launch_condition_type"],
        postgresql_where=sa.text("launch_condition_type IS NOT NULL"),
        sqlite_where=sa.text("launch_condition_type IS NOT NULL"),
    )
    migrations = op.create_table(
        "migrations",
        sa.Column("id", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("id", name="migrations_pkey"),
    )
    op.bulk_insert(migrations, [{"id": name} for name in UPSTREAM_MIGRATIONS])


def downgrade() -> None:
    """Keep upstream's tables: they hold the users' data, and upstream's server can continue with them."""
