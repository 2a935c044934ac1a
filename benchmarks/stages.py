"""The stage map of a network of about 300 modules, every cut that is offered verified: the aim is at most 5 s.

Counted are tracing, cutting and verifying, not the import of torch and timm, by the clock and (on a machine that does
other things too) as processor time of all threads. Prints RESULT {"seconds": ..., "processor_seconds": ...}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from frostline.base.device import prepare_process

prepare_process()

from frostline.models.network import NetworkOptions  # noqa: E402  (the allocator has to be set before torch is imported)
from frostline.models.sources import load_network  # noqa: E402
from frostline.planning.prepare import map_network  # noqa: E402


def main() -> None:
    """Map the network some times over, take the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="timm:mobilenetv3_large_100")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    seconds, processor = [], []
    for _ in range(args.rounds):
        network = load_network(args.model, NetworkOptions(weights="random"))
        begun = time.perf_counter(), time.process_time()
        model, mapped = map_network(network)
        seconds.append(time.perf_counter() - begun[0])
        processor.append(time.process_time() - begun[1])
    found = {
        "seconds": round(statistics.median(seconds), 2),
        "processor_seconds": round(statistics.median(processor), 2),
        "modules": len(list(model.modules())),
        "stages": len(mapped.stages),
        "cuts": sum(stage.cuttable for stage in mapped.stages),
    }
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
