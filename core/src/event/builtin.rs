//! The events that every engine knows: what the workflow engine's telemetry publishes, and what
//! this engine does.
//!
//! A payload is written as `name:type`, `!` behind it for what is always there. Types: `id` (text
//! or integer), `text`, `int`, `num`, `bool`, `list`, `map`. `duration` is in seconds, as the
//! metrics derived from events expect it.

use super::catalogue::Category::{
    self, Database, Export, Observability, Performance, Registry, Step, Task, Workflow,
};

/// Name, category, description, payload.
pub(super) type Row = (&'static str, Category, &'static str, &'static str);

const TASK: &str = "task_id:id! task_name:text namespace:text version:text handler:text \
                    status:text duration:num error:text";
const STEP: &str = "task_id:id! step_id:id! step_name:text task_name:text namespace:text \
                    handler:text status:text attempt:int duration:num error:text";
const ENTRY: &str = "name:text! replaced:bool";
const REFUSED: &str = "name:text! error:text! code:int! field:text";
const EXPORT: &str = "export_id:text! selector:text! target:text exporter:text format:text";

pub(super) const EVENTS: &[Row] = &[
    ("task.initialize_requested", Task, "A task was asked for.", TASK),
    ("task.start_requested", Task, "A task is to start.", TASK),
    ("task.completed", Task, "A task ended as it should.", TASK),
    ("task.failed", Task, "A task ended with an error.", TASK),
    ("step.execution_requested", Step, "A step is to run.", STEP),
    ("step.before_handle", Step, "A step's handler is about to be called.", STEP),
    ("step.completed", Step, "A step ended as it should.", STEP),
    ("step.failed", Step, "A step ended with an error.", STEP),
    ("step.retry_requested", Step, "A failed step is to run again.", STEP),
    ("dependency.resolved", Step, "What a step waits for is there.", "task_id:id! step_id:id!"),
    (
        "workflow.viable_steps_discovered",
        Workflow,
        "Steps of a task that can run were found.",
        "task_id:id! step_ids:list count:int processing_mode:text duration:num",
    ),
    (
        "batch.step_execution",
        Workflow,
        "Steps of a task were run together.",
        "task_id:id! step_ids:list batch_size:int duration:num",
    ),
    (
        "observability.task.enqueue",
        Observability,
        "A task was put into a queue.",
        "task_id:id! task_name:text queue:text delay:num",
    ),
    ("observability.task.finalize", Observability, "A task's outcome was settled.", TASK),
    (
        "observability.step.backoff",
        Observability,
        "A step waits before its next attempt.",
        "task_id:id! step_id:id! attempt:int backoff_seconds:num",
    ),
    (
        "observability.step.skip",
        Observability,
        "A step was passed over.",
        "task_id:id! step_id:id! reason:text",
    ),
    (
        "observability.step.max_retries_reached",
        Observability,
        "A step failed for the last time.",
        "task_id:id! step_id:id! attempt:int retry_limit:int error:text",
    ),
    (
        "observability.step.find_viable",
        Observability,
        "Steps that can run were looked for.",
        "task_id:id! count:int duration:num",
    ),
    ("observability.step.handle", Observability, "A step's handler was called.", STEP),
    (
        "metrics.series_overflow",
        Observability,
        "A family reached its limit of series: further ones fold into its overflow series, or are \
         refused where values cannot be added. Once per family.",
        "family:text!",
    ),
    (
        "performance.slow_operation",
        Performance,
        "An operation took longer than slow_operation_threshold.",
        "operation:text! duration:num! threshold:num labels:map",
    ),
    (
        "performance.slow_sql_query",
        Performance,
        "A query took longer than slow_query_threshold_seconds.",
        "sql:text! duration:num! table:text operation:text threshold:num",
    ),
    (
        "memory.spike_detected",
        Performance,
        "An operation took more memory than memory_threshold.",
        "operation:text! bytes:int! threshold:int labels:map",
    ),
    (
        "database.query_executed",
        Database,
        "A query ended.",
        "sql:text table:text operation:text duration:num rows:int",
    ),
    (
        "cache.synced",
        Export,
        "This instance's state was written to the store.",
        "store:text strategy:text series:int bytes:int duration:num",
    ),
    ("export.requested", Export, "An export begins.", EXPORT),
    (
        "export.completed",
        Export,
        "An export was delivered.",
        "export_id:text! selector:text! target:text exporter:text! format:text! series:int! bytes:int! \
         duration:num! attempts:int",
    ),
    (
        "export.failed",
        Export,
        "An export was not delivered.",
        "export_id:text! selector:text! target:text exporter:text format:text duration:num! error:text! \
         code:int! attempts:int",
    ),
    (
        "plugin.registered",
        Export,
        "An exporter serves.",
        "name:text! replaced:bool id:text version:text formats:text origin:text",
    ),
    ("plugin.unregistered", Export, "An exporter was taken out or replaced.", ENTRY),
    ("plugin.validation_failed", Registry, "An exporter was refused.", REFUSED),
    (
        "handler.registered",
        Registry,
        "An event handler serves.",
        "name:text! replaced:bool patterns:text",
    ),
    ("handler.unregistered", Registry, "An event handler was taken out or replaced.", ENTRY),
    ("handler.validation_failed", Registry, "An event handler was refused.", REFUSED),
    (
        "subscriber.registered",
        Registry,
        "A subscription began.",
        "name:text! replaced:bool patterns:text delivery:text",
    ),
    ("subscriber.unregistered", Registry, "A subscription ended.", ENTRY),
    ("subscriber.validation_failed", Registry, "A subscription was refused.", REFUSED),
    (
        "registry.sync_requested",
        Registry,
        "The registries are to be brought in line with the configuration.",
        "registry:text",
    ),
    (
        "registry.health_check",
        Registry,
        "The registries were checked.",
        "healthy:bool! plugins:int subscribers:int handlers:int problems:list",
    ),
    (
        "registry.stats_collected",
        Registry,
        "The statistics of the registries were read.",
        "plugins:map subscribers:map handlers:map",
    ),
    (
        "registry.cross_discovery",
        Registry,
        "What one registry has was looked for in another.",
        "from:text to:text found:int",
    ),
    (
        "registry.coordination_complete",
        Registry,
        "The registries agree.",
        "registries:int duration:num",
    ),
];
