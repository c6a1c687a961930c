"""All cases of broken checkpoints."""

from pathlib import Path

from benchmarks.campaign.checkpoint_cases.case import NEWEST, Case
from benchmarks.campaign.checkpoint_cases.documents import of_fields, of_other_values
from benchmarks.campaign.checkpoint_cases.places import of_places
from benchmarks.campaign.checkpoint_cases.tensors import of_tensors


def every_case(run: Path) -> list[Case]:
    """run: a good one."""
    found = [*of_other_values(), *of_tensors(), *of_places(run)]
    for file in (f"{NEWEST}/checkpoint.json", "config.json", "result.json"):
        if (run / file).exists():
            found += of_fields(run, file)
    return found
