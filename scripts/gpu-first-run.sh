#!/usr/bin/env bash
# The first minutes on a machine with a GPU: what works there, what does not, how fast it is. docs/gpu.md says how to read it.
#
#   scripts/gpu-first-run.sh pack [OUT]      here: an archive of all that such a machine lacks (.gpu/first-run.tar.xz). It needs
#                                            PyTorch 2.11 in python3 and an NVIDIA driver there; no Node, no network.
#   bash gpu-first-run.sh [OPTIONS]          there, in the unpacked folder; or here, in a built checkout on such a machine
#
#   --part NAME…      these parts only (--list names them)     --limit SECONDS   of all parts together (570)
#   --out FOLDER      where the summary and the logs go ($OUT, else output/gpu-first-run)
#   --small           sizes for a rehearsal
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here
[ -f "$root/package.json" ] || root=$(dirname "$here")
[ ! -x "$root/bin/node" ] || export PATH="$root/bin:$PATH"
if ! said=$(node --version 2>&1); then
  echo "Node does not start here: $said. Run \"scripts/gpu-first-run.sh pack\" in a checkout, and this script in the folder that the archive gives." >&2
  exit 1
fi
script=run
if [ "${1:-}" = pack ]; then script=pack; shift; fi
exec node "$root/scripts/gpu-first-run/$script.mjs" "$@"
