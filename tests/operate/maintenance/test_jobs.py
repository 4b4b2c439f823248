"""A job is shown without how it is done, and a policy that nobody made keeps everything."""

from operate.maintenance.jobs import Job, Policy


def test_a_job_is_a_row_for_a_person() -> None:
    job = Job("compact", "silver.trades", "2 to 1", 2, 10, 99, lambda: "done")
    assert job.shown() == {
        "task": "compact", "table": "silver.trades", "what": "2 to 1", "files": 2, "rows": 10, "bytes": 99,
    }  # fmt: skip


def test_everything_is_kept_unless_somebody_says_otherwise() -> None:
    assert Policy(0).retention_days == {}
