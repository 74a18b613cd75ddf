from .arithmetic import (
    can_compile as can_compile,
    check_arithmetic as check_arithmetic,
    has_arithmetic as has_arithmetic,
    network_device as network_device,
    set_arithmetic as set_arithmetic,
)
from .denoisers import Denoiser as Denoiser, keeps_prompts as keeps_prompts
from .describe import describe as describe, row_yaml as row_yaml
from .encoders import Encoder as Encoder, families as families
from .files import (
    Layout as Layout,
    check_access as check_access,
    model_files as model_files,
    naming as naming,
    pin as pin,
    resolve as resolve,
)
from .footprint import (
    Footprint as Footprint,
    activations as activations,
    footprint as footprint,
    is_guided as is_guided,
    stage_bytes as stage_bytes,
)
from .inverter import Inverter as Inverter, encode as encode
from .noise_schedule import Trajectory as Trajectory
from .pipeline import Pipeline as Pipeline, Runtime as Runtime, load_pipeline as load_pipeline
from .schemes import (
    SCHEMES as SCHEMES,
    Scheme as Scheme,
    check_scheme as check_scheme,
    make_scheme as make_scheme,
    pick as pick,
)
