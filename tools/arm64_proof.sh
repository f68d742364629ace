#!/usr/bin/env bash
# Proof without a Raspberry Pi: the wheel installed and run in an arm64 Debian root, under emulation.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: sudo tools/arm64_proof.sh root DIR [SUITE]
       sudo PYTHON=.venv/bin/python tools/arm64_proof.sh run DIR WHEEL [LOG]
       sudo tools/arm64_proof.sh parity DIR WHEEL OUTPUT MODEL...

  root  Builds an arm64 Debian root in DIR: bookworm (Python 3.11, the default) or trixie (3.13). About 10 minutes, 300 MB.
  run   Installs WHEEL into a fresh virtual environment of that root with pip, and runs doctor, predict and camera on drawn
        faces. predict and camera run on this machine, too: the answers must agree. Exit 1 when a step failed. LOG takes
        what is printed. PYTHON (default: python3) is a Python of this machine that has edgegender's dependencies.

  parity  Installs WHEEL likewise and measures each MODEL (.tflite) there, shortly. Its answers to the golden inputs come
        back as results in the folder OUTPUT; their times are marked as invalid, for no processor made them.

Make the wheel first: python -m build --wheel. Mirrors and proxies are taken from DEBIAN_MIRROR, PIP_INDEX_URL,
PIP_EXTRA_INDEX_URL, http_proxy, https_proxy and no_proxy. It says that the software works there. Speed under emulation
means nothing: measure on a real board, with edgegender benchmark.
TEXT
}

fail() {  # MESSAGE HINT EXIT_CODE
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "$3"
}

require_programs() {
  local missing=() program
  [ "$(id -u)" = 0 ] || fail "Expected the superuser, who may mount and chroot, got $(id -un)." "Run it with sudo." 3
  for program in "$@"; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [ "${#missing[@]}" = 0 ] || fail "Expected the programs $*, got no ${missing[*]}." \
    "apt-get install debootstrap qemu-user-static binfmt-support util-linux" 3
}

enable_emulation() {
  local registry=/proc/sys/fs/binfmt_misc
  [ "$(uname -m)" != aarch64 ] || return 0
  [ -e "$registry/register" ] || mount -t binfmt_misc binfmt_misc "$registry"
  [ -e "$registry/qemu-aarch64" ] || update-binfmts --enable qemu-aarch64
}

enter_own_mounts() {  # the same again, in a mount namespace: what is mounted there is gone when it ends, even after a kill
  [ -z "${ARM64_PROOF_INSIDE:-}" ] || return 0
  ARM64_PROOF_INSIDE=1 exec unshare --mount --fork --kill-child -- "$0" "$@"
}

build_root() {  # DIR SUITE
  [ ! -e "$1/etc/debian_version" ] ||
    fail "Expected an empty folder, got a Debian root ($1)." "Name another, or go on with run." 2
  mkdir -p "$1"
  debootstrap --arch=arm64 --variant=minbase --include=python3,python3-venv,ca-certificates \
    "$2" "$1" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
  rm -f "$1"/var/cache/apt/archives/*.deb
}

mount_root() {  # DIR; the network's names and certificate authorities are those of this machine
  mount -t proc proc "$1/proc"  # no /sys: it would show this machine's processor, and LiteRT crashes over that
  mkdir -p "$1/dev/shm"
  mount -t tmpfs -o nosuid,nodev tmpfs "$1/dev/shm"
  cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
  [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
}

in_root() {  # COMMAND...; in /proof of the root, without this machine's environment
  local name settings=()
  for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL http_proxy https_proxy no_proxy; do
    [ -z "${!name:-}" ] || settings+=("$name=${!name}")
  done
  env -i PATH=/proof/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "${settings[@]}" \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    chroot "$ROOT" sh -c 'cd /proof && exec "$@"' sh "$@"
}

on_host() {  # ARGUMENTS... of the wheel's edgegender, with the samples as the working folder
  (cd "$ROOT/proof" && PYTHONPATH=$ROOT/proof/unpacked "$HOST_PYTHON" -m edgegender "$@")
}

draw_samples() {
  (cd "$ROOT/proof" && PYTHONPATH=$ROOT/proof/unpacked "$HOST_PYTHON" -) <<'PYTHON'
import cv2
import numpy as np
from edgegender.data.drawn_attributes import draw_attributes
from edgegender.data.drawn_faces import draw_face

rng = np.random.default_rng(27)
faces = [draw_face(draw_attributes(label, rng), size_px=240, rng=rng).image_rgb for label in ("female", "male")]
for number, face in enumerate(faces, start=1):
    cv2.imwrite(f"face{number}.png", np.ascontiguousarray(face[..., ::-1]))
video = cv2.VideoWriter("faces.avi", cv2.VideoWriter.fourcc(*"MJPG"), 15, (640, 360))
for index in range(30):
    frame = np.full((360, 640, 3), 128, np.uint8)
    for face, left in zip(faces, (40 + 2 * index, 340 - index), strict=True):
        frame[60:300, left : left + 240] = face[..., ::-1]
    video.write(frame)
video.release()
PYTHON
}

compare_answers() {  # WHAT HERE THERE; NDJSON of predict or camera: scores, boxes or people
  "$HOST_PYTHON" - "$@" <<'PYTHON'
import json, sys
from pathlib import Path

what, *names = sys.argv[1:]
here, there = ([json.loads(line) for line in Path(name).read_text().splitlines()] for name in names)

def overlap(a, b):
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    both = max(x2 - x1, 0) * max(y2 - y1, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

if what == "people":
    ends = [(sum(row["people"].values()), row["counters"]["frames"]) for row in (here[-1], there[-1])]
    print(f"people and frames here {ends[0]}, there {ends[1]}")
    sys.exit(ends[0] != ends[1] or not ends[0][0])
pairs = [(a, b) for rows in zip(here, there) for a, b in zip(*(row["faces"] for row in rows))]
counts = [sum(len(row["faces"]) for row in rows) for rows in (here, there)]
flips = sum(a["predicted_label"] != b["predicted_label"] for a, b in pairs)
change = max(abs(a["scores"][label] - b["scores"][label]) for a, b in pairs for label in a["scores"])
print(f"faces here {counts[0]}, there {counts[1]}; other labels {flips}; largest change of a score {change:.4f}")
is_same = counts[0] == counts[1] > 0 and flips == 0
if what == "scores":  # kernels of another processor may round an int8 value the other way; more is another answer
    sys.exit(not is_same or change > 0.02)
# OpenCV scales pictures with other instructions there: the cascade's boxes move by a pixel or two
least = min(overlap(a["box_xyxy"], b["box_xyxy"]) for a, b in pairs)
print(f"smallest overlap of two boxes {least:.3f}")
sys.exit(not is_same or least < 0.9)
PYTHON
}

step() {  # TITLE COMMAND...
  local title=$1 code=0
  shift
  printf '\n## %s\n' "$title"
  "$@" 2>&1 || code=$?
  [ "$code" = 0 ] && echo "=> ok" && return
  echo "=> FAILED, exit $code"
  NUM_FAILED=$((NUM_FAILED + 1))
}

install_wheel() {  # NAME
  in_root python3 -m venv venv && in_root pip install --quiet "./$1"
}

describe() {
  # shellcheck disable=SC2016  # expanded in the root
  in_root sh -c '. /etc/os-release; echo "$PRETTY_NAME, $(dpkg --print-architecture), $(getconf LONG_BIT) bit"' &&
    in_root python3 --version &&
    in_root pip list --format=freeze
}

on_both() {  # ARGUMENTS... of edgegender; the answers lie in here.ndjson and there.ndjson
  on_host "$@" >"$ROOT/proof/here.ndjson" && in_root edgegender "$@" >"$ROOT/proof/there.ndjson"
}

classify_both() {
  on_both predict --json --detector none face1.png face2.png && cat "$ROOT/proof/there.ndjson" &&
    compare_answers scores "$ROOT/proof/here.ndjson" "$ROOT/proof/there.ndjson"
}

predict_both() {
  on_both predict --json face1.png face2.png && cat "$ROOT/proof/there.ndjson" &&
    compare_answers boxes "$ROOT/proof/here.ndjson" "$ROOT/proof/there.ndjson"
}

camera_both() {
  on_both camera --source faces.avi --max-frames 30 && head -n 2 "$ROOT/proof/there.ndjson" && echo "..." &&
    tail -n 1 "$ROOT/proof/there.ndjson" && compare_answers people "$ROOT/proof/here.ndjson" "$ROOT/proof/there.ndjson"
}

prove() {  # WHEEL
  echo "# edgegender on arm64, $(date -u +%Y-%m-%d), wheel $(basename "$1"), sha256 $(sha256sum "$1" | cut -c 1-12)…"
  [ "$(uname -m)" = aarch64 ] ||
    echo "# emulated on $(uname -m): $(qemu-aarch64-static --version | head -n 1). Function only, no speed."
  rm -rf "$ROOT/proof"
  mkdir "$ROOT/proof"
  cp "$1" "$ROOT/proof/"
  "$HOST_PYTHON" -m zipfile -e "$1" "$ROOT/proof/unpacked"
  draw_samples
  step "pip install the wheel into a new virtual environment" install_wheel "$(basename "$1")"
  step "what is in it" describe
  step "edgegender doctor" in_root edgegender doctor
  step "edgegender predict on whole photos, and the same on this machine" classify_both
  step "edgegender predict with the face cascade, and the same on this machine" predict_both
  step "edgegender camera on a video file, and the same on this machine" camera_both
  printf '\n%s step(s) failed\n' "$NUM_FAILED"
  [ "$NUM_FAILED" = 0 ]
}

measure_parity() {  # WHEEL OUTPUT MODEL...
  local wheel=$1 output=$2 model name
  shift 2
  rm -rf "$ROOT/proof"
  mkdir -p "$ROOT/proof" "$output"
  cp "$wheel" "$ROOT/proof/"
  install_wheel "$(basename "$wheel")"
  for model in "$@"; do
    name=$(basename "$model" .tflite)
    cp "$model" "$ROOT/proof/model.tflite"
    # exit 1: recorded, and invalid, as it must be
    in_root edgegender benchmark model.tflite --threads 1 --short -o result.json > /dev/null || [ $? = 1 ]
    mv "$ROOT/proof/result.json" "$output/$name.json"
    echo "$output/$name.json"
  done
}

main() {
  case "${1:-}" in
    root)
      [ $# -ge 2 ] || fail "Expected a folder, got none." "tools/arm64_proof.sh --help" 2
      require_programs debootstrap unshare mount chroot
      enter_own_mounts "$@"
      enable_emulation
      build_root "$2" "${3:-bookworm}"
      ;;
    run)
      [ $# -ge 3 ] || fail "Expected a folder and a wheel, got $(($# - 1)) argument(s)." "tools/arm64_proof.sh --help" 2
      [ -e "$2/etc/debian_version" ] || fail "Expected a Debian root, got none ($2)." "tools/arm64_proof.sh root $2" 2
      [ -f "$3" ] || fail "Expected a wheel, got none ($3)." "python -m build --wheel" 2
      HOST_PYTHON=$(command -v "${PYTHON:-python3}") || fail "Expected a Python, got ${PYTHON:-python3}." "Set PYTHON." 3
      "$HOST_PYTHON" -c 'import ai_edge_litert, click, cv2' 2>/dev/null ||
        fail "Expected a Python with edgegender's dependencies, got $HOST_PYTHON." "Set PYTHON=.venv/bin/python." 3
      require_programs unshare mount chroot
      enter_own_mounts "$@"
      enable_emulation
      ROOT=$(realpath "$2") HOST_PYTHON=$(realpath -s "$HOST_PYTHON") NUM_FAILED=0
      mount_root "$ROOT"
      prove "$3" | tee "${4:-/dev/null}"
      ;;
    parity)
      [ $# -ge 5 ] || fail "Expected a folder, a wheel, an output folder and models, got $(($# - 1)) argument(s)." \
        "tools/arm64_proof.sh --help" 2
      [ -e "$2/etc/debian_version" ] || fail "Expected a Debian root, got none ($2)." "tools/arm64_proof.sh root $2" 2
      require_programs unshare mount chroot
      enter_own_mounts "$@"
      enable_emulation
      ROOT=$(realpath "$2")
      mount_root "$ROOT"
      measure_parity "${@:3}"
      ;;
    -h | --help) usage ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
}

main "$@"
