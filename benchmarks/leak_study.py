"""What photos of the same people on both sides of a split do to the measured accuracy.

A manifest of face crops with the columns ``person`` (from `edgegender data group --by person`) and ``split_random``
(train and test) becomes two training sets for the same test photos, of equal size and with equal numbers of each
label:

- random: drawn from all training photos, as a random split gives them;
- disjoint: only photos of people who stand in no test photo.

Both are trained with the same recipe, and differ in nothing but whose faces they show. The validation photos, which
choose the epoch, are the same for both and show people who stand nowhere else.

    python benchmarks/leak_study.py make faces.csv -o study          # writes study/random.csv and study/disjoint.csv
    edgegender train --data study/random.csv --set seed=1 -o random1     # and so on, for each set and seed
    python benchmarks/leak_study.py compare study --random random1 random2 --disjoint disjoint1 disjoint2 -o OUT.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np

from edgegender.benchmark.machine import describe_machine
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.training.dataset import to_samples
from edgegender.training.run_folder import load_model, load_run
from edgegender.training.validation import predict_scores

NUM_VALIDATION = 800
NUM_BOOTSTRAPS = 2000
SEED = 0


def make(source: Path, output: Path) -> None:
    """Writes the two manifests."""
    manifest = read_manifest(source).select()
    manifest = manifest.where(manifest.column("person"))  # photos without a face have none
    people, labels, sides = (manifest.column(name) for name in ("person", "label", "split_random"))
    rng = random.Random(SEED)
    tested = {person for person, side in zip(people, sides, strict=True) if side == "test"}
    alone = [index for index, person in enumerate(people) if sides[index] == "train" and person not in tested]
    sizes = Counter(people[index] for index in alone)
    names = sorted(sizes)
    rng.shuffle(names)
    held_back: set[str] = set()
    for name in names:
        if sum(sizes[chosen] for chosen in held_back) >= NUM_VALIDATION:
            break
        held_back.add(name)
    disjoint = [index for index in alone if people[index] not in held_back]
    pool = [index for index, side in enumerate(sides) if side == "train" and people[index] not in held_back]
    wanted = Counter(labels[index] for index in disjoint)
    drawn = [
        index
        for label, count in sorted(wanted.items())
        for index in rng.sample([index for index in pool if labels[index] == label], count)
    ]
    for name, train in (("random", drawn), ("disjoint", disjoint)):
        chosen = set(train)
        splits = [
            "test" if side == "test" else "val" if person in held_back else "train" if index in chosen else ""
            for index, (side, person) in enumerate(zip(sides, people, strict=True))
        ]
        written = manifest.with_columns({"split": splits})
        write_manifest(output / f"{name}.csv", written.where(splits))
        known = {people[index] for index in train}
        shared = sum(side == "test" and person in known for side, person in zip(sides, people, strict=True))
        print(f"{name}: {len(train)} training photos; {shared} of {splits.count('test')} test photos show their people")


def is_right(run_folder: Path, test: Manifest) -> np.ndarray:
    """Returns for each test photo whether the run answers its label, as 0 or 1."""
    run = load_run(run_folder)
    samples = to_samples(test, run.labels)
    scores, positions = predict_scores(load_model(run), samples, run.preprocessing)
    if len(positions) != len(samples):
        raise SystemExit("a test photo cannot be read")
    return np.asarray(scores.argmax(axis=1) == [sample.label_index for sample in samples], np.float64)


def interval(values: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """Returns the mean in percent with a 95 % interval from a bootstrap over people: their photos go together."""
    rng = np.random.default_rng(SEED)
    _, person = np.unique(people, return_inverse=True)
    sums, sizes = np.bincount(person, values), np.bincount(person)
    drawn = rng.integers(0, len(sizes), (NUM_BOOTSTRAPS, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": 100 * float(values.mean()), "low": 100 * float(low), "high": 100 * float(high)}


def compare(study: Path, runs: dict[str, list[Path]], output: Path) -> None:
    """Measures the runs on the test photos and writes the record."""
    manifests = {name: read_manifest(study / f"{name}.csv") for name in runs}
    test = manifests["random"].select(split="test")
    people = np.asarray(test.column("person"))
    known = {name: set(manifest.select(split="train").column("person")) for name, manifest in manifests.items()}
    is_shared = np.asarray([person in known["random"] for person in people])
    right = {name: np.mean([is_right(folder, test) for folder in folders], axis=0) for name, folders in runs.items()}
    groups = {"all": np.ones(len(test), bool), "person in train": is_shared, "person not in train": ~is_shared}
    results = {}
    for name, chosen in groups.items():
        results[name] = {
            "num_photos": int(chosen.sum()),
            "num_people": len(set(people[chosen].tolist())),
            **{which: interval(values[chosen], people[chosen]) for which, values in right.items()},
            "random minus disjoint": interval((right["random"] - right["disjoint"])[chosen], people[chosen]),
        }
        print(name, results[name])
    record = {
        "benchmark": "leak_study",
        "recipe": dataclasses.asdict(load_run(runs["random"][0]).recipe),
        "num_train": {name: len(manifest.select(split="train")) for name, manifest in manifests.items()},
        "num_runs": {name: len(folders) for name, folders in runs.items()},
        "test_photos_with_their_person_in_train": {
            name: int(sum(person in found for person in people)) for name, found in known.items()
        },
        "accuracy_percent": results,
        "machine": dataclasses.asdict(describe_machine()),
    }
    output.write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Runs one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["make", "compare"])
    parser.add_argument("source", type=Path, help="make: the manifest; compare: the folder of the two manifests.")
    parser.add_argument("--random", type=Path, nargs="+", default=[])
    parser.add_argument("--disjoint", type=Path, nargs="+", default=[])
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.step == "make":
        make(arguments.source, arguments.output)
    else:
        compare(arguments.source, {"random": arguments.random, "disjoint": arguments.disjoint}, arguments.output)


if __name__ == "__main__":
    main()
