from .admission import (
    admit as admit,
    admit_device as admit_device,
    identity as identity,
    lease_creation as lease_creation,
    opened as opened,
    take_place as take_place,
)
from .build import (
    STATE as STATE,
    Build as Build,
    Unit as Unit,
    listed_units as listed_units,
    open_build as open_build,
    public_name as public_name,
    public_recipe as public_recipe,
    publishing_lease as publishing_lease,
    read_markers as read_markers,
    source_refusals as source_refusals,
)
from .commit import CUT_PROMPTS as CUT_PROMPTS, device_name as device_name, software as software
from .leases import Lease as Lease
from .log import Log as Log, Tail as Tail, failures as failures, library_warnings as library_warnings
from .preemption import (
    GRACE_VARIABLE as GRACE_VARIABLE,
    LEAVING as LEAVING,
    PREEMPTION_SIGNALS as PREEMPTION_SIGNALS,
    Preempted as Preempted,
    end_with_launcher as end_with_launcher,
    exit_if_stopped as exit_if_stopped,
    handle_preemption as handle_preemption,
    handled as handled,
    launcher_environment as launcher_environment,
    raise_preempted as raise_preempted,
    reraise_pending as reraise_pending,
    stop_requested as stop_requested,
)
from .queue import Queue as Queue
from .scheduler import image_work as image_work
from .store import EXCLUSIVE as EXCLUSIVE, Store as Store, find_store as find_store, is_url as is_url
from .worker import READERS as READERS, naming_shortage as naming_shortage, work as work
