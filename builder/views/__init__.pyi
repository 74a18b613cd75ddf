from .batches import (
    choose_arithmetic as choose_arithmetic,
    choose_sizes as choose_sizes,
    device_memory as device_memory,
    passes as passes,
    weights_of as weights_of,
)
from .computer import Batch as Batch, Computer as Computer, Rows as Rows, Work as Work
from .edit_measures import EDIT_TITLES as EDIT_TITLES, MEASURES as MEASURES, encoders_of as encoders_of
from .families import check_family as check_family, make_computer as make_computer, register_family as register_family
from .inversion_table import inversion_table as inversion_table
from .networks import ModelComputer as ModelComputer, make_inverter as make_inverter
from .quality import (
    METRICS as METRICS,
    PREFIX as PREFIX,
    TITLES as TITLES,
    check_metrics as check_metrics,
    latent_statistics as latent_statistics,
)
from .slices import (
    PIECE as PIECE,
    Slice as Slice,
    Values as Values,
    ahead as ahead,
    cut as cut,
    groups as groups,
    shared as shared,
)
from .stages import Stages as Stages, is_out_of_memory as is_out_of_memory
