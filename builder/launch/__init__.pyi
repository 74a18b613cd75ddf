from .cluster import HfJobs as HfJobs, Node as Node, Script as Script, Slurm as Slurm, refuse_url as refuse_url
from .engines import find_engine as find_engine, read_options as read_options, register_engine as register_engine
from .forecast import REPORT as REPORT, Forecast as Forecast, total_seconds as total_seconds
from .local import (
    Job as Job,
    Outcome as Outcome,
    build_dataset as build_dataset,
    build_datasets as build_datasets,
    default_processes as default_processes,
    launch_of as launch_of,
    progress_of as progress_of,
)
from .machines import CPU as CPU, SHARE as SHARE, machine as machine, names as names
from .plan import UNIT_LEAST as UNIT_LEAST, UNIT_MOST as UNIT_MOST, Plan as Plan, plan as plan
from .status import (
    Scan as Scan,
    ViewStatus as ViewStatus,
    Watcher as Watcher,
    WorkerStatus as WorkerStatus,
    missing_text as missing_text,
    ranges as ranges,
    status as status,
)
