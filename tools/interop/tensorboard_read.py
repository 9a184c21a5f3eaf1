#!/usr/bin/env python3
"""What TensorBoard reads in a folder of event files.

    python3 -m pip install -r tools/requirements-interop.txt
    python3 tools/interop/tensorboard_read.py FOLDER

Standard output is one JSON object of every scalar, {tag: [[step, value], …]}, in the order of the
steps, as the EventAccumulator of the tensorboard package has it: both plain scalars
(`simple_value`) and those that are stored as tensors of the `scalars` plugin. Other plugins are
passed over. It keeps every value, not the sample that the web page shows.
"""

import argparse
import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

KEEP_ALL = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    print(json.dumps(scalars(parser.parse_args().folder), sort_keys=True))


def scalars(folder: Path) -> dict[str, list[list[float]]]:
    """Every scalar of a folder: its tag, and a step and value for each time it was written."""
    events = EventAccumulator(str(folder), {"scalars": KEEP_ALL, "tensors": KEEP_ALL})
    events.Reload()
    tags = events.Tags()
    found = {
        tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in tags["scalars"]
    }
    for tag in tags["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            found[tag] = [
                [event.step, tensor_util.make_ndarray(event.tensor_proto).item()]
                for event in events.Tensors(tag)
            ]
    return found


if __name__ == "__main__":
    main()
