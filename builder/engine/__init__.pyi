from noisezoo.builder.engine import preemption as preemption
from noisezoo.builder.engine.admission import (
    admit as admit,
    admit_device as admit_device,
    identity as identity,
    opened as opened,
    take_place as take_place,
)
from noisezoo.builder.engine.build import (
    STATE as STATE,
    Build as Build,
    Unit as Unit,
    open_build as open_build,
    source_refusals as source_refusals,
)
from noisezoo.builder.engine.leases import claimed as claimed, holder as holder, is_stale as is_stale
from noisezoo.builder.engine.log import Log as Log, Tail as Tail, failures as failures
from noisezoo.builder.engine.provenance import public_name as public_name, public_recipe as public_recipe
from noisezoo.builder.engine.queue import Folder as Folder
from noisezoo.builder.engine.scheduler import image_work as image_work
from noisezoo.builder.engine.worker import READERS as READERS, work as work
