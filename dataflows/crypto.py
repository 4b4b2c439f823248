"""The flow of crypto markets: the diagram as code. What runs it is `dataflows.running`.

`python -m bytewax.run dataflows.crypto` calls `flow`; everybody else calls `build` with ends of his own.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import FixedPartitionedSink

from dataflows.chain import Chain
from dataflows.engine import Item, apply


def build(
    source: FixedPartitionedSource[tuple[str, Item], Any],
    sinks: Mapping[str, FixedPartitionedSink[Item, Any]],
    steps: Chain,
) -> Dataflow:
    """Frames of the journals become records, which every sink gets."""
    crypto = Dataflow("crypto")
    received = op.input("receive", crypto, source)
    decoded = apply("decode", received, steps.decode)
    complete = apply("detect_gaps", decoded, steps.detect_gaps)
    valid = apply("validate", complete, steps.validate)
    single = apply("drop_duplicates", valid, steps.drop_duplicates)
    summed = apply("aggregate", single, steps.aggregate)
    for name, sink in sinks.items():
        op.output(name, summed, sink)
    return crypto


def flow() -> NoReturn:
    """Run this process, with capture and recovery, for the engine's own command: to the end, from here."""
    from dataflows.running import run_as_told  # noqa: PLC0415  # tests build flows without all that

    run_as_told()
