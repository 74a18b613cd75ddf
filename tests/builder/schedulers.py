"""Stand-ins for sbatch, srun, scontrol, accelerate and hf that really start what they are told to start."""

import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SBATCH = r"""
# As SLURM does: one process of the script a job, told its ids, its output appended to what --output names.
option() { sed -n "s/^#SBATCH --$1=//p" "$script" | tr -d '"'; }
while [[ $1 == --* ]]; do [[ $1 == --parsable ]] && echo 7; shift; done
script=$1
last=$(option array | sed 's/.*-//')
codes=0
jobs=()
for task in $(seq 0 "${last:-0}"); do
  if [ -n "$last" ]; then
    export SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=$((7 + task))
  else export SLURM_JOB_ID=7; fi
  output=$(option output | sed "s/%%/\x01/g; s/%A/7/; s/%a/$task/; s/%j/7/; s/\x01/%/g")
  SLURM_JOB_NUM_NODES=$(option nodes) bash "$script" >> "$output" 2>&1 &
  jobs+=($!)
  echo $! >> "$STUBS/told.jobs"
done
for job in "${jobs[@]}"; do wait "$job"; codes=$((codes | $?)); done
exit $codes
"""

SRUN = r"""
# One task a node, each in a session of its own; a signal goes to every process of every task, as by a cgroup.
nodes=1
while [[ $1 == --* ]]; do [[ $1 == --nodes=* ]] && nodes=${1#--nodes=}; shift; done
declare -a tasks
trap 'for t in "${tasks[@]}"; do pkill -USR1 --session "$t"; done' USR1
for node in $(seq "$nodes"); do SLURM_NODEID=$((node - 1)) setsid "$@" & tasks+=($!); done
worst=0
for t in "${tasks[@]}"; do
  while kill -0 "$t" 2>/dev/null; do wait "$t"; done
  wait "$t"; code=$?
  [ "$code" -gt "$worst" ] && worst=$code
done
exit $worst
"""

SCONTROL = 'echo "$@" >> "$STUBS/told.scontrol"'

ACCELERATE = r"""
# The processes without the launcher, whose start takes longer than these builds.
while [[ $1 != -m ]]; do [[ $1 == --num_processes ]] && count=$2; shift; done
for _ in $(seq "$count"); do python "$@" & pids+=($!); done
worst=0
for p in "${pids[@]}"; do wait "$p"; code=$?; [ "$code" -gt "$worst" ] && worst=$code; done
exit $worst
"""

HF = r"""
# A bucket is a folder; a job is run here and now, with what --env sets, and given as many attempts as it may have.
case "$1 $2" in
  "buckets create") mkdir -p "$STUBS/$3" ;;
  "buckets sync")
    from=${3/hf:\/\/buckets/$STUBS}; to=${4/hf:\/\/buckets/$STUBS}; mkdir -p "$from" "$to"; cp -a "$from/." "$to/"
    echo "$3 $4" >> "$STUBS/told.syncs" ;;
  "jobs run")
    shift 2; attempts=1
    while [[ $1 == --* ]]; do
      case $1 in --detach) shift; continue ;; --env) export "${2?}" ;; --attempts) attempts=$2 ;; esac; shift 2
    done
    shift
    for _ in $(seq "$attempts"); do "$@" && exit 0; done
    exit 1 ;;
esac
"""

STUBS = {"sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL, "accelerate": ACCELERATE, "hf": HF}


class Cluster:
    """A folder of stand-ins that comes before all other programs; what they were told lies there too."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self.folder = folder
        folder.mkdir()
        for name in names:
            self.add(name, STUBS[name])

    def add(self, name: str, text: str) -> None:
        """Another stand-in."""
        path = self.folder / name
        path.write_text(f"#!/usr/bin/env bash\n{text.strip()}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    @property
    def setup(self) -> str:
        """The shell lines that a node's or a job's environment begins with."""
        return f'export STUBS={shlex.quote(str(self.folder))} PATH={shlex.quote(str(self.folder))}:{BIN}:"$PATH"'

    def start(self, command: str) -> "subprocess.Popen[str]":
        """Start a command as a user would, in a process group of its own."""
        return subprocess.Popen(
            ["bash", "-c", f"{self.setup}; exec {command}"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def told(self, name: str) -> list[str]:
        """Lines that a stand-in noted."""
        path = self.folder / f"told.{name}"
        return path.read_text().splitlines() if path.exists() else []


BIN = shlex.quote(str(Path(sys.executable).parent))


def finish(process: "subprocess.Popen[str]", seconds: float = 300) -> tuple[int, str]:
    """Wait for a command; its exit code and what it printed."""
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def wait_until(true: Callable[[], object], seconds: float = 300) -> None:
    """Look again and again until something holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
