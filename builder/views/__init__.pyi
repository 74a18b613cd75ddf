from noisezoo.builder.views.computer import Computer as Computer, Rows as Rows, Work as Work
from noisezoo.builder.views.families import COMPUTERS as COMPUTERS, make_computer as make_computer
from noisezoo.builder.views.networks import make_inverter as make_inverter
from noisezoo.builder.views.quality import (
    METRICS as METRICS,
    PREFIX as PREFIX,
    TITLES as TITLES,
    check_metrics as check_metrics,
)
from noisezoo.builder.views.slices import (
    PIECE as PIECE,
    Slice as Slice,
    Values as Values,
    ahead as ahead,
    cut as cut,
    groups as groups,
    shared as shared,
)
