"""`tape topics`: what the topics of Kafka are like, and what of that is not as configured."""

import click

from connectors.errors import EXIT_FAILED, TapeError
from operate.cli import Session
from operate.table import json_option, print_rows

COLUMNS = ("topic", "partitions", "replication", "cleanup", "retention_days", "compression", "differs")


@click.command("topics")
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show Kafka's topics; exit 1 where one is not as configured."""
    session: Session = context.obj
    settings = session.settings()
    if not settings.kafka.bootstrap_servers:
        raise TapeError(
            "no Kafka is configured",
            hint="set kafka.bootstrap_servers (TAPE_KAFKA__BOOTSTRAP_SERVERS=HOST:9092)",
        )
    from connectors.topics import DAY_MILLISECONDS, found_topics

    found = found_topics(settings.kafka, settings.enabled())
    rows = []
    for topic in found:
        retention = topic.configuration.get("retention.ms", "")
        rows.append(
            {
                "topic": topic.wanted.name,
                "partitions": topic.partitions,
                "replication": topic.replication,
                "cleanup": topic.configuration["cleanup.policy"] or None,
                "retention_days": int(retention) / DAY_MILLISECONDS if retention.isdigit() else None,
                "compression": topic.configuration["compression.type"] or None,
                "differs": "; ".join(each.said for each in topic.differences) or None,
            }
        )
    print_rows(rows, as_json=as_json, columns=COLUMNS)
    if any(topic.differences for topic in found):
        context.exit(EXIT_FAILED)
