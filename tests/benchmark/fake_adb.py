"""A program ``adb`` with a phone behind it that is a folder: hardware that is not here.

``make_phone`` writes both. Commands run in a real shell with the phone's own ``getprop`` and ``dumpsys``; what is
pushed as ``benchmark_model`` becomes a program that prints a recorded output and answers from files named by the sha256
of its input, which the test fills with a real interpreter's answers.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegender.entities import UInt8Array
from edgegender.runtime.interpreter import Interpreter

RECORDED = Path(__file__).with_name("recorded")
SERIAL = "R58M123ABC"
PROPERTIES = {
    "ro.product.manufacturer": "Example",
    "ro.product.model": "Phone 9",
    "ro.soc.manufacturer": "Acme",
    "ro.soc.model": "AC9000",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.serialno": SERIAL,
}
_ADB = """#!/bin/sh
root='{root}'
if [ "$1" = -s ]; then
    [ "$2" = {serial} ] || {{ echo "error: device '$2' not found" >&2; exit 1; }}
    shift 2
fi
state=$(cat "$root/state")
[ "$state" = device ] || {{ echo "$state" >&2; exit 1; }}
case $1 in
get-state) echo device ;;
push)
    case $3 in
    */benchmark_model) cp "$root/tool" "$root$3" ;;
    *) cp -r "$2" "$root$3" ;;
    esac ;;
pull) cp -r "$root$2" "$3" ;;
shell)
    printf '%s\\n' "$2" >> "$root/commands"
    command=$(printf '%s' "$2" | sed "s|/data/local/tmp|$root&|g; s|/sys/devices|$root&|g; s|/proc/|$root&|g")
    PATH="$root/bin:$PATH" exec sh -c "$command" ;;
esac
"""
_TOOL = """#!/bin/sh
root='{root}'
kind=cpu
is_timed=yes
for word; do
    case $word in
    --use_gpu=true) kind=gpu ;;
    --num_runs=1) is_timed=no ;;
    --input_layer_value_files=*) input=${{word#*:}} ;;
    --output_filepath=*) output=${{word#*=}} ;;
    esac
done
read -r number < "$root/calls"
echo $((number + 1)) > "$root/calls"
read -r limit < "$root/limit"
[ "$number" -lt "$limit" ] || {{ echo "ERROR: Benchmarking failed."; exit 1; }}
if grep -q "Benchmarking failed" "$root/$kind.txt"; then cat "$root/$kind.txt"; exit 1; fi
if [ -e "$root/writes" ]; then
    set -- $(sha256sum "$input")
    answer="$root/answers/$1"
    [ -e "$answer" ] || answer="$root/answers/other"
    [ ! -e "$root/broken" ] || answer="$root/broken"
    cp "$answer" "$output"
fi
[ $is_timed = no ] || cat "$root/$kind.txt"
"""


@dataclass(frozen=True)
class FakePhone:
    """The folder that plays the phone.

    Args:
        root: With its files.
        program: The fake ``adb``.
        tool: What to push as ``benchmark_model``: an empty program for the phone's processor.
    """

    root: Path
    program: Path
    tool: Path

    def know(self, network: Interpreter, images: Iterable[UInt8Array]) -> None:
        """Makes the phone answer pictures as a real interpreter does."""
        for image in images:
            tensor = np.ascontiguousarray(network.to_tensor(image))
            (scores,) = network.infer(tensor)
            for name in (hashlib.sha256(tensor.tobytes()).hexdigest(), "other"):
                (self.root / "answers" / name).write_bytes(scores.tobytes())

    def commands(self) -> list[str]:
        return (self.root / "commands").read_text().splitlines()

    def set_dumpsys(self, **answers: str) -> None:
        for name, text in answers.items():
            (self.root / "dumpsys" / name).write_text(text)

    def play(self, kind: str, recording: str) -> None:
        (self.root / f"{kind}.txt").write_text((RECORDED / recording).read_text())


def elf(machine: int) -> bytes:
    """Returns the first bytes of a program for a processor."""
    return b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + bytes(44)


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def make_phone(folder: Path, properties: Mapping[str, str] = PROPERTIES) -> FakePhone:
    """Writes the phone into an empty folder."""
    root = folder / "phone"
    for name in (
        "bin",
        "data/local/tmp",
        "proc",
        "dumpsys",
        "answers",
        *(f"sys/devices/system/cpu/cpu{n}/cpufreq" for n in "01"),
    ):
        (root / name).mkdir(parents=True)
    for number in "01":
        cpu = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        (cpu / "scaling_governor").write_text("schedutil\n")
        (cpu / "scaling_cur_freq").write_text(f"{1800 + int(number)}000\n")
    (root / "proc/meminfo").write_text("MemTotal:        7629396 kB\n")
    (root / "proc/loadavg").write_text("0.25 0.50 0.75 1/900 12345\n")
    (root / "calls").write_text("0\n")
    (root / "limit").write_text("100000\n")
    (root / "state").write_text("device")
    (root / "commands").write_text("")
    (root / "writes").write_text("")
    names = {"root": str(root), "serial": SERIAL}
    lines = "\n".join(f'[ "$1" = {name} ] && echo "{value}"' for name, value in properties.items())
    _write_program(root / "bin/getprop", f"#!/bin/sh\n{lines}\nexit 0\n")
    _write_program(root / "bin/dumpsys", f'#!/bin/sh\ncat "{root}/dumpsys/$1"\n')
    _write_program(root / "tool", _TOOL.format(**names))
    program = folder / "bin" / "adb"
    program.parent.mkdir()
    _write_program(program, _ADB.format(**names))
    tool = folder / "benchmark_model"
    tool.write_bytes(elf(183))
    phone = FakePhone(root, program, tool)
    phone.play("cpu", "benchmark_model_cpu.txt")
    phone.play("gpu", "benchmark_model_gpu.txt")
    phone.set_dumpsys(
        battery="Current Battery Service state:\n  level: 80\n  temperature: 312\n",
        thermalservice="IsStatusOverride: false\nThermal Status: 0\n",
        power="Power Manager State:\n  mWakefulness=Awake\n",
        window="  mDreamingLockscreen=false\n",
    )
    return phone
