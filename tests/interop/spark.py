"""Spark reads the tables of our lake and compacts them, our sink goes on writing, and nothing is lost.

Spark in this Python, its part of Iceberg from Maven. Prints what each side finds; ends where they differ.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from msgspec.structs import replace
from pyspark.sql import SparkSession

from connectors.catalog import NAME
from connectors.slots import open_store
from tests.campaigns.lake_driver import Driver, Job, check, drive
from tests.interop.jars import jars

SHARDS = ("binance-0", "kraken-0")
FRAMES = 600
TABLES = ("bronze.frames", "silver.trades", "silver.dead_letters", "silver.gaps")
# One of each table that all engines add up exactly.
SUMMED = {"bronze.frames": "position", "silver.trades": "price"}


def spark_over(directory: Path) -> SparkSession:
    """Spark, with the embedded catalog of that store; its name there is a column of the catalog's table."""
    catalog = {
        "": "org.apache.iceberg.spark.SparkCatalog",
        ".catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        ".uri": f"jdbc:sqlite:{directory / 'catalog.db'}",
        ".warehouse": f"file://{directory / 'lake'}",
        ".jdbc.schema-version": "V1",
        ".cache-enabled": "false",
    }
    settings = {
        "spark.jars": ",".join(str(jar) for jar in jars("iceberg-spark", "sqlite")),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
    } | {f"spark.sql.catalog.{NAME}{key}": value for key, value in catalog.items()}
    builder = SparkSession.builder.master("local[2]").appName("interop")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def compare(spark: SparkSession, job: Job, when: str) -> None:
    """Both sides' rows and sums of each table."""
    for name in TABLES:
        column = SUMMED.get(name)
        asked = f"count(*), sum({column})" if column else "count(*), null"
        theirs = tuple(spark.sql(f"select {asked} from {NAME}.{name}").collect()[0])
        rows = job.open().load_table(name).scan().to_arrow()
        ours = (rows.num_rows, pc.sum(rows[column]).as_py() if column else None)
        print(f"{when}: {name}: Spark {theirs[0]} rows, {theirs[1]}; PyIceberg {ours[0]}, {ours[1]}")
        if ours != theirs:
            raise SystemExit(f"{name} differs")


def compact(spark: SparkSession, name: str) -> None:
    """Let Spark write the files of a table as few."""
    call = f"call {NAME}.system.rewrite_data_files(table => '{name}', options => map('rewrite-all', 'true'))"
    result: dict[str, Any] = spark.sql(call).collect()[0].asDict()
    print(f"Spark compacts {name}: {result}")
    if not result["rewritten_data_files_count"] > result["added_data_files_count"] > 0:
        raise SystemExit(f"{name} was not compacted")


def run() -> None:
    """The whole story, in a store of its own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        open_store(directory, "simulated", SHARDS)
        job = Job(folder, SHARDS, FRAMES, 1)
        drive(replace(job, frames=FRAMES // 3))
        spark = spark_over(directory)
        try:
            compare(spark, job, "written")
            writer = Driver(replace(job, frames=2 * FRAMES // 3))
            writer.start()
            writer.epoch(writer.job.frames)  # it knows the table as it was before
            for name in ("bronze.frames", "silver.trades"):
                compact(spark, name)
            writer.run()
            writer.close()
            compare(spark, job, "compacted, and written to by who was writing")
            drive(job)
            compare(spark, job, "written to by the next start")
        finally:
            spark.stop()
        problems = check(job, SHARDS)
    print(
        f"Spark: {len(problems)} differences to what was meant {problems}, {time.monotonic() - began:.0f} s"
    )
    if problems:
        raise SystemExit(1)
