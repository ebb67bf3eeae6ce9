"""Dumps and restores that are made to fail, at one stage after the other. Which number a stage has is the program's business:
it says which one it was, and tests know them by name."""
import re

from world import Failed

MOST = 30


def stages(run, last, first=1):
    """
    One run for each stage, from number @first up to the one that is called @last: yields their names, each behind its run.
    @run: carries a command out with options more, that say where it is to fail; returns all that the command has said
    """
    for n in range(first, MOST):
        said = run("--inject-stage", str(n))
        found = re.search(r"([^:\n]+): failed on purpose", said)
        if not found:
            raise Failed(f"a run that was to fail at stage {n} has not, or for another reason: {said.strip()[-300:]}")
        name = found[1].strip()
        yield name
        if name == last:
            return
    raise Failed(f"there is no stage {last}")
