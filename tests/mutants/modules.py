"""Which tests a module's mutants are tried against: the quick ones that say what the module promises."""

from __future__ import annotations

from pathlib import Path


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/unit/test_{name}.py" for name in names)


_POLICY = _unit(*(f"policy_{name}" for name in ("flaps", "grace", "healing", "oneshots", "suppression")))
_COMMAND = tuple(f"tests/unit/alert_command/test_{name}.py" for name in ("facts", "results", "termination"))
_WATCH = _unit("watch", "silences", "failing_registry_monitor")
_CHANGES = _unit("failing_registry_changes", "lifecycle")

# Left out are the properties that take seconds, test_policy_sequences and test_reducer_any_order: they would find some
# more, but a mutant that only they find is one whose reason nobody has written down. So are tests/simulation, and
# tests/daemon, whose processes run what is installed and no mutant.
TESTS: dict[Path, tuple[str, ...]] = {
    Path(module): tests
    for module, tests in (
        ("monitor/alerts/policy.py", _POLICY),
        ("monitor/alerts/command.py", _COMMAND),
        ("monitor/child.py", _COMMAND),
        ("monitor/alerts/dispatch.py", _unit("alert_dispatch", "silences")),
        ("monitor/reducer.py", _unit("reducer", "reducer_probes")),
        ("monitor/drift.py", (*_unit("drift"), *_POLICY)),
        ("monitor/healing.py", _unit("healing")),
        ("monitor/exit_status.py", _unit("drift")),
        ("monitor/pidfd.py", _unit("pidfd")),
        ("monitor/probes.py", _unit("health", "verify")),
        ("monitor/model.py", (*_unit("drift", "reducer"), *_POLICY)),
        ("monitor/ports.py", _unit("silences", "alert_dispatch", "verify")),
        ("monitor/state.py", _WATCH),
        ("monitor/watch.py", _WATCH),
        ("monitor/writer.py", _WATCH),
        ("monitor/busy_services.py", _WATCH),
        ("monitor/sources/events.py", _WATCH),
        ("monitor/sources/exits.py", _WATCH),
        ("monitor/sources/health.py", _unit("health", "watch")),
        ("monitor/sources/inspector.py", _unit("resync", "health", "watch")),
        ("monitor/sources/resync.py", _unit("resync")),
        ("monitor/sources/tasks.py", _WATCH),
        ("mcpd/changes/plan.py", _unit("plan", "plan_following", "built_images")),
        ("mcpd/changes/plan_id.py", _unit("plan", "secret_use")),
        ("mcpd/changes/secret_use.py", _unit("secret_use", "secrets")),
        ("mcpd/changes/secrets.py", _unit("secrets")),
        ("mcpd/changes/difference.py", _unit("difference")),
        ("mcpd/changes/rollback.py", _unit("rollback", "deploy")),
        ("mcpd/changes/adopt.py", _CHANGES),
        ("mcpd/changes/adoptable.py", _unit("adopt")),
        ("mcpd/changes/built_images.py", _unit("built_images")),
        ("mcpd/changes/cancelling.py", _unit("cancel", "operations")),
        ("mcpd/changes/config_files.py", _unit("config_files")),
        ("mcpd/changes/crash_recovery.py", _unit("cancel")),
        ("mcpd/changes/deploy.py", _unit("deploy", "cancel")),
        ("mcpd/changes/images/blob.py", _unit("image_push")),
        ("mcpd/changes/images/content.py", _unit("image_content")),
        ("mcpd/changes/images/endpoint.py", _unit("image_endpoint")),
        ("mcpd/changes/images/inventory.py", _unit("images", "inventory")),
        ("mcpd/changes/images/prune.py", _unit("images")),
        ("mcpd/changes/images/push.py", _unit("image_push")),
        ("mcpd/changes/images/pushes.py", _unit("image_push")),
        ("mcpd/changes/images/room.py", _unit("image_content")),
        ("mcpd/changes/jobs/due.py", _unit("due")),
        ("mcpd/changes/jobs/ending.py", _unit("jobs")),
        ("mcpd/changes/jobs/keeper.py", _unit("jobs")),
        ("mcpd/changes/jobs/outcome.py", _unit("job_outcomes")),
        ("mcpd/changes/jobs/records.py", _unit("job_records")),
        ("mcpd/changes/jobs/runs.py", _unit("jobs")),
        ("mcpd/changes/lifecycle.py", _CHANGES),
        ("mcpd/changes/maintenance.py", _unit("draining")),
        ("mcpd/changes/losses.py", _unit("deploy")),
        ("mcpd/changes/node.py", _CHANGES),
        ("mcpd/changes/operations.py", _unit("operations", "cancel")),
        ("mcpd/changes/podman_hints.py", _unit("podman_hints", "built_images")),
        ("mcpd/changes/ports.py", _unit("ports", "rollback")),
        ("mcpd/changes/prerequisites.py", _unit("deploy")),
        ("mcpd/changes/pull.py", _unit("built_images")),
        ("mcpd/changes/purge.py", _unit("purge")),
        ("mcpd/changes/recover.py", _CHANGES),
        ("mcpd/changes/steps.py", _unit("deploy")),
        ("mcpd/changes/surroundings.py", _unit("deploy", "rollback")),
        ("mcpd/changes/survey.py", _unit("deploy")),
        ("mcpd/changes/sync.py", _CHANGES),
        ("mcpd/changes/traffic.py", _unit("draining")),
        ("mcpd/changes/verify.py", _unit("verify")),
        ("mcpd/changes/viewer_plan.py", _unit("redaction")),
        ("mcpd/rpc/gate.py", _unit("open_calls", "gate")),
        ("protos/agreement.py", _unit("spec")),
        ("protos/atomic.py", _unit("atomic")),
        ("protos/escapes.py", _unit("render")),
        ("protos/fields.py", _unit("validation", "spec")),
        ("protos/fingerprint.py", _unit("fingerprint")),
        ("protos/grammar.py", _unit("grammar")),
        ("protos/lean_messages.py", _unit("lean_messages", "wire")),
        ("protos/images.py", _unit("image_content", "image_archives")),
        ("protos/lean_frames.py", _unit("lean_frames")),
        ("protos/naming.py", _unit("naming")),
        ("protos/parts.py", _unit("spec", "wire")),
        ("protos/podman_notation.py", _unit("podman_notation")),
        ("protos/program_output.py", _unit("program_output")),
        ("protos/route_agreement.py", _unit("route_table")),
        ("protos/scheduling.py", _unit("schedules")),
        ("protos/spec.py", _unit("spec", "wire")),
        ("protos/validation.py", _unit("validation", "spec")),
        ("protos/wire.py", _unit("wire")),
    )
}
